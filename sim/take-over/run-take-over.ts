import { withoutStrays } from '../../worlds/model/strays.js';
import { judge, type Outcome } from '../judge.js';
import { arenas } from '../run.js';
import type { TakeOverPlan } from './plan.js';
import { TakeOverWorld } from './take-over-world.js';

/** How `withoutStrays` begins the text of a ModelKilled. */
const KILLED = 'thrown: ModelKilled';

export interface TakeOverOutcome extends Outcome {
  /** By worker. */
  readonly workers: readonly { readonly steps: number; readonly attachStep: number }[];
  /** Of the first supervisor. */
  readonly supervisorSteps: number;
}

/** Runs a plan: guests with oracles, real workers and real supervisors. A plan always gives the same run. */
export async function runTakeOver(plan: TakeOverPlan): Promise<TakeOverOutcome> {
  const world = new TakeOverWorld(plan);
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  await withoutStrays(
    () => world.all(),
    (what) => {
      // Code of a killed process that runs on in the simulation.
      if (!what.startsWith(KILLED)) world.faults.push(what);
    },
  );
  Error.stackTraceLimit = stackTraceLimit;
  arenas.reclaim();
  const { served, supervisorSteps } = world;
  return { ...judge(world), workers: served, supervisorSteps };
}
