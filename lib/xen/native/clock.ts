import { performance } from 'node:perf_hooks';
import type { Clock } from '../types.js';

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    timer.unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
