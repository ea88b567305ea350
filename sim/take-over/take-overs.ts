import type { PayloadMode } from '../../lib/netback/settings.js';
import type { MutationResult } from '../mutate.js';
import { type GuestPlan, plainScenario, type Scenario } from '../scenario.js';
import { Tally } from '../tally.js';
import type { Sign, TakeOverPlan, WorkerEnd, WrongTakeOver } from './plan.js';
import { runTakeOver, type TakeOverOutcome } from './run-take-over.js';

/** Indices wrap while the frames cross. */
const NEAR_WRAP = 0xfffffffe;
const SIGNS: readonly Sign[] = ['mark', 'link', 'claim'];
/** So many first deaths are tried with each step of a supervisor. */
const DEATHS_OF_SUPERVISOR = 3;
/** Coprime to most numbers of steps: each later kill comes with another earlier one. */
const STRIDE = 37;

/** A guest whose worker is killed. */
export interface TakeOverShape {
  readonly name: string;
  /** Whether it takes longer than the others: then each step is tried with one sign of a death, and every other step of the third worker. */
  readonly long: boolean;
  readonly scenario: Scenario;
}

function shape(name: string, payload: PayloadMode, guest: Partial<GuestPlan>, long = false): TakeOverShape {
  return { name: `${name}, payload ${payload}`, long, scenario: { ...plainScenario(guest), payload } };
}

const FEW_SLOTS: Partial<GuestPlan> = { sizes: [9000, 60], fromGuest: 2, toGuest: 2, ringStart: NEAR_WRAP };
const MANY_CHANNELS: Partial<GuestPlan> = {
  ...{ queues: 2, control: 'hash' },
  ...{ sizes: [9000, 60], fromGuest: 1, toGuest: 3, buffersMax: 18, lateMs: 2 },
};

export const TAKE_OVERS: readonly TakeOverShape[] = [
  shape('frames of one and many slots', 'copy', FEW_SLOTS),
  shape('frames of one and many slots', 'map', FEW_SLOTS),
  shape('two queues, a control ring, frames pending', 'copy', MANY_CHANNELS, true),
];

/**
 * Which process is killed at each of its steps. first: the worker that serves first, with each sign of its death. next: the one that takes over
 * from it. again: the one after that. supervisor: the supervisor, while a worker dies.
 */
export type Victim = 'first' | 'next' | 'again' | 'supervisor';
export const VICTIMS: readonly Victim[] = ['first', 'next', 'again', 'supervisor'];

/** Runs a shape with kills at every step of one process. @param onRun called after each run. */
export async function exhaustTakeOvers(
  { name, long, scenario }: TakeOverShape,
  victim: Victim,
  onRun: () => void = () => {},
): Promise<Tally> {
  const tally = new Tally();
  const run = async (ends: readonly WorkerEnd[], atStep?: number): Promise<TakeOverOutcome> => {
    const outcome = await runTakeOver(planOf(scenario, ends, atStep));
    tally.add(`${name}: ${textOf(ends, atStep)}`, outcome);
    onRun();
    return outcome;
  };
  const first = await run([]);
  const [{ steps, attachStep }] = first.workers;
  const death = (i: number, sign: Sign = 'mark') => ({ atStep: stepOf(i, attachStep, steps), sign });
  if (victim === 'first') {
    for (let atStep = 1; atStep <= steps; atStep++) {
      const signs = long ? [SIGNS[atStep % SIGNS.length]] : SIGNS;
      for (const sign of signs) await run([{ atStep, sign }]);
    }
  } else if (victim === 'next') {
    for (let atStep = 1, last = 1; atStep <= last; atStep++) {
      const { workers } = await run([death(atStep), { atStep, sign: SIGNS[atStep % SIGNS.length] }]);
      // The number of its steps depends on the first death: the later ones are tried as long as one gets there.
      last = Math.max(last, workers[1].steps, atStep < steps ? atStep + 1 : 0);
    }
  } else if (victim === 'again') {
    for (let atStep = 1; atStep <= steps; atStep += long ? 2 : 1)
      await run([death(atStep), death(atStep + 1), { atStep, sign: 'mark' }]);
  } else {
    for (let i = 0; i < DEATHS_OF_SUPERVISOR; i++) {
      const end = death(i * STRIDE, SIGNS[i % SIGNS.length]);
      const { supervisorSteps } = await run([end]);
      for (let atStep = 1; atStep <= supervisorSteps; atStep++) await run([end], atStep);
    }
  }
  return tally;
}

interface Wrong {
  readonly wrong: WrongTakeOver;
  /** The kills with which it is tried: of the first worker, with this sign, and of the next one too. */
  readonly sign: Sign;
  readonly twice: boolean;
  /** Whether it breaks a promise by itself. */
  readonly alone: boolean;
}

const WRONG: readonly Wrong[] = [
  // A worker looks at the rings as it attaches, too: only without both is a guest stuck (test/crash/take-over-looks.test.ts).
  { wrong: 'ignores the event of the take-over', sign: 'mark', twice: false, alone: false },
  { wrong: 'does not unmask the event channels', sign: 'mark', twice: false, alone: true },
  { wrong: 'serves before the fence', sign: 'claim', twice: false, alone: true },
  { wrong: 'keeps the channels that the next worker got', sign: 'mark', twice: true, alone: true },
];
/** Those that the simulation finds. */
export const WRONG_TAKE_OVERS: readonly WrongTakeOver[] = WRONG.flatMap(({ wrong, alone }) =>
  alone ? [wrong] : [],
);

/** Kills workers until a wrong order of the take-over breaks a promise that the right order keeps. */
export async function tryWrongTakeOver(
  wrong: WrongTakeOver,
  { name, scenario }: TakeOverShape,
  onRun: () => void = () => {},
): Promise<MutationResult> {
  const { sign, twice } = WRONG.find((one) => one.wrong === wrong)!;
  const { workers } = await runTakeOver(planOf(scenario, []));
  const [{ steps, attachStep }] = workers;
  const result = { name: `a take-over that ${wrong}`, payload: scenario.payload };
  let kills = 0;
  for (let atStep = attachStep + 1; atStep <= steps; atStep++) {
    const first: WorkerEnd = { atStep, sign };
    const ends = twice ? [first, { atStep: atStep - attachStep, sign }] : [first];
    kills += 1;
    const { faults } = await runTakeOver({ ...planOf(scenario, ends), wrong });
    onRun();
    if (faults.length === 0) continue;
    const right = await runTakeOver(planOf(scenario, ends));
    // A kill that breaks a promise with the right order too proves nothing.
    if (right.faults.length > 0) continue;
    return { ...result, kills, found: { atStep, words: name, fault: faults[0] } };
  }
  return { ...result, kills, found: undefined };
}

function planOf(scenario: Scenario, workers: readonly WorkerEnd[], supervisorAtStep?: number): TakeOverPlan {
  return { scenario, workers, ...(supervisorAtStep === undefined ? {} : { supervisorAtStep }) };
}

/** @returns a step at which the worker serves its guest, another one for each i. */
function stepOf(i: number, attachStep: number, steps: number): number {
  return attachStep + 1 + ((i * STRIDE) % (steps - attachStep));
}

function textOf(ends: readonly WorkerEnd[], supervisorAtStep: number | undefined): string {
  const workers = ends.map(({ atStep, sign }, i) => `worker ${i} killed at step ${atStep} (${sign})`);
  const supervisor = supervisorAtStep === undefined ? [] : [`supervisor killed at step ${supervisorAtStep}`];
  return [...workers, ...supervisor].join(', ') || 'undisturbed';
}
