import type { Effort } from './measure.js';
import { OBSERVERS } from './observers.js';

/** How long a subject is measured. */
export interface SubjectEffort {
  readonly processes: number;
  readonly effort: Effort;
}

/** Many short rounds: whatever else the machine does spoils few of them. */
const FULL: Effort = { rounds: 31, roundMs: 0.7, warmUpMs: 600, garbageMs: 150 };
const QUICK: Effort = { rounds: 17, roundMs: 0.5, warmUpMs: 320, garbageMs: 10 };

/**
 * Processes of a subject. C++ and TypeScript each have speeds that differ by process, as their memory lies in the caches: to the guest, 60
 * B, batch 64, the median ratio of 5 processes is between -13 and +5 % of that of 24, of 15 between -7 and +3 % (in 90 of 100 drawn ones;
 * 2026-11-28, on a machine with other work to do).
 */
const PROCESSES: Readonly<Record<string, number>> = {
  native: 25,
  'no journal': 15,
  tap: 9,
  filter: 9,
  hook: 9,
};
const PROCESSES_REST = 5;
const PROCESSES_QUICK: Readonly<Record<string, number>> = { native: 4, 'no journal': 3 };

/** A frame in mapped pages takes up to a thousand times as long as a copied one. */
const SLOW: readonly string[] = ['map', 'tap map'];
const SLOW_PART = 1 / 3;
/** With hooks V8 has more to compile, and collects garbage meanwhile. */
const OBSERVED: readonly string[] = OBSERVERS.map(({ name }) => name);

/** @param subject its name. */
export function effortOf(subject: string, quick: boolean): SubjectEffort {
  const processes = quick ? (PROCESSES_QUICK[subject] ?? 1) : (PROCESSES[subject] ?? PROCESSES_REST);
  const effort = quick ? QUICK : FULL;
  const { rounds, warmUpMs } = effort;
  if (OBSERVED.includes(subject)) return { processes, effort: { ...effort, warmUpMs: FULL.warmUpMs } };
  if (!SLOW.includes(subject)) return { processes, effort };
  const slow = { rounds: Math.ceil(rounds * SLOW_PART), warmUpMs: warmUpMs * SLOW_PART };
  return { processes, effort: { ...effort, ...slow } };
}
