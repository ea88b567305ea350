import type { PayloadMode } from '../lib/netback/settings.js';
import { runScenario } from './run-scenario.js';
import { type GuestPlan, type LifePlan, NO_FAULTS, plainScenario, type Scenario } from './scenario.js';
import { Tally } from './tally.js';

/** Indices wrap while the frames cross. */
const NEAR_WRAP = 0xfffffffe;
const MORE_THAN_A_RING = 256 + 8;

export interface Exhaustive {
  readonly name: string;
  /** Every pair of steps: a life is killed, and then the one that mends what it left. */
  readonly twice: boolean;
  /** Takes longer than all the others. */
  readonly long: boolean;
  readonly scenario: Scenario;
}

function shape(
  name: string,
  guest: Partial<GuestPlan>,
  rest: Partial<Scenario> = {},
  twice = false,
): Exhaustive {
  const scenario = plainScenario(guest, rest);
  return { name, twice, long: twice || guest.fromGuest === MORE_THAN_A_RING, scenario };
}

const SHAPES: readonly Exhaustive[] = [
  shape('one frame each way', {}),
  shape('one and many slots, GSO, indices that wrap', {
    sizes: [60, 9000, 1514],
    fromGuest: 6,
    toGuest: 6,
    ringStart: NEAR_WRAP,
  }),
  shape('jumbo frames, one event channel', {
    sizes: [9014, 60],
    mtuBytes: 9014,
    fromGuest: 3,
    toGuest: 3,
    splitChannels: false,
  }),
  shape(
    'error responses',
    { sizes: [60, 9000], fromGuest: 4, toGuest: 4 },
    { faults: { ...NO_FAULTS, grantFailsEvery: 3 } },
  ),
  shape('frames held for a guest with few buffers', {
    sizes: [9000, 60],
    fromGuest: 0,
    toGuest: 12,
    buffersMax: 18,
    lateMs: 5,
  }),
  shape('hooks that drop', { sizes: [60], fromGuest: 4, toGuest: 4 }, { hook: 'drop' }),
  shape('two queues, indices that wrap', {
    queues: 2,
    sizes: [60, 9000],
    fromGuest: 2,
    toGuest: 2,
    ringStart: NEAR_WRAP,
  }),
  shape('a full ring', { sizes: [60], fromGuest: MORE_THAN_A_RING, toGuest: 0, ringStart: NEAR_WRAP }),
  shape('a guest that sets up hashing', { sizes: [9000, 60], fromGuest: 2, toGuest: 3, control: 'hash' }),
  shape('frames for other queues than they came in, indices that wrap', {
    queues: 2,
    sizes: [9000, 60],
    fromGuest: 0,
    toGuest: 4,
    // Not so near that the control ring has just no answer at 0, where guests begin.
    ringStart: NEAR_WRAP - 14,
    control: 'hash',
  }),
  shape('grants that stay mapped', { sizes: [9000, 60], fromGuest: 3, toGuest: 3, control: 'staged' }),
  shape('killed twice: one GSO frame each way', { sizes: [9000], ringStart: NEAR_WRAP }, {}, true),
];

/** What is killed at every step, by name, with both ways to bring payload. */
export const EXHAUSTIVE: readonly Exhaustive[] = (['copy', 'map'] as const).flatMap((payload) =>
  SHAPES.map((one) => ({ ...one, scenario: { ...one.scenario, payload } })),
);

export function exhaustiveOf(payload: PayloadMode): readonly Exhaustive[] {
  return EXHAUSTIVE.filter(({ scenario }) => scenario.payload === payload);
}

/** Of the first kills, these: every `of`-th from the one at `index`, from 0. All shares together are all kills. */
export interface Share {
  readonly index: number;
  readonly of: number;
}

const ALL: Share = { index: 0, of: 1 };

/**
 * Kills the backend at every step of a life, one run for each; twice: and then the next life at every step of it.
 * @param options fromAttach: the first kill falls once a guest is attached; before, nothing is to be mended.
 * @returns what came of all runs together.
 */
export async function exhaust(
  { name, twice, scenario }: Exhaustive,
  options: { onRun?: () => void; fromAttach?: boolean; share?: Share } = {},
): Promise<Tally> {
  const { onRun = () => {}, fromAttach = false, share = ALL } = options;
  const tally = new Tally();
  const undisturbed = await runScenario({ ...scenario, lives: [] });
  if (share.index === 0) tally.add(`${name}, payload ${scenario.payload}, undisturbed`, undisturbed);
  const begin = fromAttach ? undisturbed.attachStep : 1;
  for (let first = begin + share.index; first <= undisturbed.steps; first += share.of) {
    const once = await runScenario({ ...scenario, lives: [killedAt(first)] });
    tally.add(`${name}, payload ${scenario.payload}, killed at step ${first}`, once);
    onRun();
    for (let second = 1; twice && second <= once.steps; second++) {
      const both = await runScenario({ ...scenario, lives: [killedAt(first), killedAt(second)] });
      tally.add(`${name}, payload ${scenario.payload}, killed at steps ${first} and ${second}`, both);
      onRun();
    }
  }
  return tally;
}

function killedAt(atStep: number): LifePlan {
  // A second burst would make each run longer and find nothing that the first does not.
  return { end: 'kill', atStep, lastsMs: 0, bursts: ['after'], reboot: undefined, harm: undefined };
}
