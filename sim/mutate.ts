import type { PayloadMode } from '../lib/netback/settings.js';
import type { Mutation } from './mutations.js';
import { runScenario } from './run-scenario.js';
import type { ProcessPlan, Scenario, TamperedWord } from './scenario.js';
import { type Change, type LoggedStep, StoreLog } from './store-log.js';

/** A kill that shows the wrong order, and the changes to the journals. */
interface Kill {
  readonly atStep: number;
  readonly tampered: readonly TamperedWord[];
}

export interface MutationResult {
  readonly name: string;
  readonly payload: PayloadMode;
  /** How many kills were tried. */
  readonly kills: number;
  /** The first kill that broke a promise; undefined: the mutation was not found. */
  readonly found: { readonly atStep: number; readonly words: string; readonly fault: string } | undefined;
}

/**
 * Kills the backend at each place where the wrong order of two stores makes a difference. The model has only the order of the code. A kill
 * between the two stores of the wrong order leaves the second one complete and the first one not made. So this kills after both and undoes
 * the first one; or it kills before an action, and makes the store that should follow it.
 */
export async function tryMutation(
  { name, scenario: plan, lastsMs, before, ...order }: Mutation,
  payload: PayloadMode,
  onRun: () => void = () => {},
): Promise<MutationResult> {
  let scenario: Scenario = { ...plan, payload };
  let log = await logOf(scenario);
  if (before !== undefined) {
    scenario = { ...scenario, processes: before(log) };
    log = await logOf(scenario);
  }
  const killed = (atStep: number, tampered: readonly TamperedWord[]): Scenario => {
    const process: ProcessPlan = {
      ...{ end: 'kill', atStep, lastsMs, bursts: ['after'], reboot: undefined, harm: undefined },
      tampered,
    };
    return { ...scenario, processes: [...scenario.processes, process] };
  };
  let kills = 0;
  for (const { atStep, tampered } of killsOf(order, log)) {
    kills += 1;
    const { faults } = await runScenario(killed(atStep, tampered));
    onRun();
    if (faults.length === 0) continue;
    // A kill that breaks a promise with the right order too proves nothing.
    const right = await runScenario(killed(atStep, []));
    if (right.faults.length > 0) continue;
    return { name, payload, kills, found: { atStep, words: wordsOf(tampered, log), fault: faults[0] } };
  }
  return { name, payload, kills, found: undefined };
}

/** @returns the steps of the last process, which runs undisturbed. */
async function logOf(scenario: Scenario): Promise<readonly LoggedStep[]> {
  const log = new StoreLog();
  await runScenario(scenario, log);
  return log.steps.filter(({ process }) => process === scenario.processes.length);
}

type Order = Pick<Mutation, 'earlier' | 'deed' | 'later' | 'elsewhere'>;

function killsOf(order: Order, log: readonly LoggedStep[]): Kill[] {
  return order.deed === undefined ? killsAfter(order, log) : killsBefore(order.deed, order, log);
}

/** Kills after `later`, and undoes what `earlier` has stored since the last `later`. */
function killsAfter({ earlier, later, elsewhere = false }: Order, log: readonly LoggedStep[]): Kill[] {
  const kills: Kill[] = [];
  let late = new Map<string, Change>();
  for (const logged of log) {
    const end = logged.changes.find((change) => later(change, logged));
    if (end === undefined) {
      for (const change of logged.changes) {
        const key = `${change.journal} ${change.word}`;
        if (earlier?.(change) && !late.has(key)) late.set(key, change);
      }
      continue;
    }
    const taken = [...late.values()].filter(({ journal }) => !elsewhere || journal !== end.journal);
    late = new Map();
    const tampered = taken.map(({ journal, word, old }) => ({ journal, word, value: old }));
    if (tampered.length > 0) kills.push({ atStep: logged.step, tampered });
  }
  return kills;
}

/** Kills before each action since the last `later`, and makes the next `later` early. */
function killsBefore(
  deed: NonNullable<Mutation['deed']>,
  { later }: Order,
  log: readonly LoggedStep[],
): Kill[] {
  const kills: Kill[] = [];
  let deeds: LoggedStep[] = [];
  for (const logged of log) {
    if (deed(logged)) deeds.push(logged);
    const made = logged.changes.filter((change) => later(change, logged));
    if (made.length === 0) continue;
    const tampered = made.map(({ journal, word, now }) => ({ journal, word, value: now }));
    // At the action's own step it is not done yet.
    for (const { step } of deeds) kills.push({ atStep: step, tampered });
    deeds = [];
  }
  return kills;
}

/** @returns the names of the changed words. */
function wordsOf(tampered: readonly TamperedWord[], log: readonly LoggedStep[]): string {
  const [{ journal, word }] = tampered;
  const changes = log.flatMap((logged) => logged.changes);
  const path = changes.find((change) => change.journal === journal && change.word === word)?.path;
  const more = tampered.length - 1;
  return `${journal} ${path}${more > 0 ? ` and ${more} more` : ''}`;
}
