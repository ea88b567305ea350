import type { PayloadMode } from '../lib/netback/settings.js';
import { EXHAUSTIVE, exhaust, type Share } from './exhaustive.js';
import { tryMutation } from './mutate.js';
import { MUTATIONS } from './mutations.js';
import { runSwarm, type Swarm } from './swarm.js';
import {
  exhaustTakeOvers,
  TAKE_OVERS,
  tryWrongTakeOver,
  VICTIMS,
  type Victim,
  WRONG_TAKE_OVERS,
} from './take-over/take-overs.js';
import { Tally } from './tally.js';

const PAYLOAD_MODES: readonly PayloadMode[] = ['copy', 'map'];

/**
 * Work for one thread, as plain data. `shape` is an index in EXHAUSTIVE or TAKE_OVERS, `mutation` one in MUTATIONS, `wrong` one in
 * WRONG_TAKE_OVERS.
 */
export type Job =
  | { readonly kind: 'steps'; readonly shape: number; readonly share: Share }
  | { readonly kind: 'mutation'; readonly mutation: number; readonly payload: PayloadMode }
  | { readonly kind: 'take-overs'; readonly shape: number; readonly victim: Victim }
  | { readonly kind: 'wrong take-over'; readonly wrong: number; readonly shape: number }
  | { readonly kind: 'seeds'; readonly swarm: Swarm };

/** The long job is divided, so that no worker still has all of it when the others have ended. */
const SHARES_OF_LONG = 6;
const SEEDS_OF_JOB = 25;

/** @param twice the shapes for which every pair of steps is tried. */
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

export function jobsOfMutations(): Job[] {
  return MUTATIONS.flatMap((_, mutation) =>
    PAYLOAD_MODES.map((payload): Job => ({ kind: 'mutation', mutation, payload })),
  );
}

/** The long ones come first. */
export function jobsOfTakeOvers(): Job[] {
  const shapes = [...TAKE_OVERS.entries()].sort(([, a], [, b]) => Number(b.long) - Number(a.long));
  return shapes.flatMap(([shape]) => VICTIMS.map((victim): Job => ({ kind: 'take-overs', shape, victim })));
}

/** With the first shape: the order is the same in all. */
export function jobsOfWrongTakeOvers(): Job[] {
  return WRONG_TAKE_OVERS.map((_, wrong): Job => ({ kind: 'wrong take-over', wrong, shape: 0 }));
}

/** @param onRun called after each run. */
export async function doJob(job: Job, onRun: () => void): Promise<Tally> {
  if (job.kind === 'seeds') return runSwarm(job.swarm, onRun);
  if (job.kind === 'mutation') {
    const tally = new Tally();
    tally.mutations.push(await tryMutation(MUTATIONS[job.mutation], job.payload, onRun));
    return tally;
  }
  if (job.kind === 'take-overs') return exhaustTakeOvers(TAKE_OVERS[job.shape], job.victim, onRun);
  if (job.kind === 'wrong take-over') {
    const tally = new Tally();
    tally.mutations.push(await tryWrongTakeOver(WRONG_TAKE_OVERS[job.wrong], TAKE_OVERS[job.shape], onRun));
    return tally;
  }
  const one = EXHAUSTIVE[job.shape];
  // The beginning of a connection is the same in both payload modes, so pairs of kills in it are tried with one.
  const fromAttach = one.twice && one.scenario.payload === 'map';
  return exhaust(one, { onRun, share: job.share, fromAttach });
}
