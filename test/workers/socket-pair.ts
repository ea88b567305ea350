import { addon, errnoName } from '../../lib/addon.js';

/** Returns the two ends of a connection between a supervisor and a worker. */
export function socketPair(): [number, number] {
  const pair = addon().socketPair();
  if (typeof pair === 'number') throw new Error(errnoName(pair));
  return pair;
}
