import { EXHAUSTIVE, exhaust, type Share } from './exhaustive.js';
import { runSwarm, type Swarm } from './swarm.js';
import type { Tally } from './tally.js';

/** Work for one worker, as plain data. `shape` is an index in EXHAUSTIVE. */
export type Job =
  | { readonly kind: 'steps'; readonly shape: number; readonly share: Share }
  | { readonly kind: 'seeds'; readonly swarm: Swarm };

/** What takes long is shared out, so that no worker has it all as the others have ended. */
const SHARES_OF_LONG = 6;
const SEEDS_OF_JOB = 25;

/** @param twice the shapes of which every pair of steps is tried. */
export function jobsOfSteps(twice: boolean): Job[] {
  return EXHAUSTIVE.flatMap((one, shape) => {
    if (one.twice !== twice) return [];
    const of = one.long ? SHARES_OF_LONG : 1;
    return Array.from({ length: of }, (_, index): Job => ({ kind: 'steps', shape, share: { index, of } }));
  });
}

export function jobsOfSeeds({ seed, seeds, kills }: Swarm): Job[] {
  return Array.from({ length: Math.ceil(seeds / SEEDS_OF_JOB) }, (_, index): Job => {
    const done = index * SEEDS_OF_JOB;
    return {
      kind: 'seeds',
      swarm: { seed: seed + done, seeds: Math.min(SEEDS_OF_JOB, seeds - done), kills },
    };
  });
}

/** @param onRun called after each run. */
export function doJob(job: Job, onRun: () => void): Promise<Tally> {
  if (job.kind === 'seeds') return runSwarm(job.swarm, onRun);
  return exhaust(EXHAUSTIVE[job.shape], { onRun, share: job.share });
}
