import { loadavg } from 'node:os';
import { where } from '../programs/where.js';
import type { Line } from './figures.js';

/** What `--json` prints and `--compare` reads. */
export interface Report {
  readonly schemaVersion: 2;
  readonly quick: boolean;
  readonly where: Readonly<Record<string, string>>;
  readonly lines: readonly Line[];
  /** Into a real tap; a reason when that could not be measured. */
  readonly tap: readonly Line[] | string;
}

/** @returns the machine, the checkout, and how busy the machine is: to be called before the bench makes it busy. */
export function whereNow(): Record<string, string> {
  return { ...where(), load: `${loadavg()[0].toFixed(1)} before the run` };
}
