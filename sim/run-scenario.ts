import { withoutStrays } from '../worlds/model/strays.js';
import { judge, type Outcome } from './judge.js';
import { arenas, Run } from './run.js';
import type { Scenario } from './scenario.js';
import { StoreLog } from './store-log.js';

/**
 * Runs a scenario: guests with oracles, and one backend process after the other. A scenario always gives the same run: one that breaks a
 * promise runs again, so that its trace names the stores of each step.
 * @param log gets the stores of each step to the journals.
 */
export async function runScenario(scenario: Scenario, log?: StoreLog): Promise<Outcome> {
  const outcome = await runOnce(scenario, log);
  return outcome.faults.length > 0 && log === undefined ? runOnce(scenario, new StoreLog()) : outcome;
}

async function runOnce(scenario: Scenario, log: StoreLog | undefined): Promise<Outcome> {
  const run = new Run(scenario, log);
  // Most errors here are errors from the store; a stack for each would cost a tenth of the time.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  await withoutStrays(
    () => run.all(),
    (what) => run.faults.push(what),
  );
  Error.stackTraceLimit = stackTraceLimit;
  arenas.reclaim();
  return judge(run);
}
