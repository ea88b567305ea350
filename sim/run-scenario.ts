import { withoutStrays } from '../worlds/model/strays.js';
import { judge, type Outcome } from './judge.js';
import { arenas, Run } from './run.js';
import type { Scenario } from './scenario.js';

/** Runs a scenario: guests with oracles, and one life of the backend after the other. The same scenario, the same run. */
export async function runScenario(scenario: Scenario): Promise<Outcome> {
  const run = new Run(scenario);
  // Most errors here are answers of the store; a stack for each would cost a tenth of the time.
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
