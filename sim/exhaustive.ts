import type { PayloadMode } from '../lib/netback/settings.js';
import { runScenario } from './run-scenario.js';
import {
  type GuestPlan,
  NO_FAULTS,
  type ProcessPlan,
  plainScenario,
  type Reboot,
  type Scenario,
} from './scenario.js';
import { Tally } from './tally.js';

/** Indices wrap while the frames cross. */
const NEAR_WRAP = 0xfffffffe;
const MORE_THAN_A_RING = 256 + 8;

export interface Exhaustive {
  readonly name: string;
  /** Whether to try every pair of steps: a process is killed, and then the next process, which completes its work. */
  readonly twice: boolean;
  /** Whether it takes longer than the others. */
  readonly long: boolean;
  /** How long a process that is killed lasts at most: longer than 0 for events that take time. */
  readonly lastsMs: number;
  /** Processes that run before the one that is killed. */
  readonly scenario: Scenario;
}

function shape(
  name: string,
  guest: Partial<GuestPlan>,
  rest: Partial<Scenario> = {},
  more: Partial<Pick<Exhaustive, 'twice' | 'long' | 'lastsMs'>> = {},
): Exhaustive {
  const scenario = plainScenario(guest, rest);
  const { twice = false, long = twice, lastsMs = 0 } = more;
  return { name, twice, lastsMs, long, scenario };
}

/** A process that is killed when no event waits, and a guest that begins another connection while none runs. */
function rebooted(how: Reboot['how']): ProcessPlan {
  const reboot: Reboot = { guest: 0, how, when: 'alone' };
  return {
    end: 'kill',
    atStep: Number.POSITIVE_INFINITY,
    lastsMs: 5,
    bursts: ['after', 'between'],
    reboot,
    harm: undefined,
  };
}

/** A guest whose journals have a content of each kind. */
const PROGRAMMED: Partial<GuestPlan> = {
  sizes: [9000, 60],
  fromGuest: 3,
  toGuest: 12,
  buffersMax: 18,
  lateMs: 5,
  control: 'hash',
  multicast: 'few',
  rate: { bytes: 60_000, intervalMs: 10 },
};

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
  shape('frames pending for a guest with few buffers', {
    sizes: [9000, 60],
    fromGuest: 0,
    toGuest: 12,
    buffersMax: 18,
    lateMs: 5,
  }),
  shape('GSO frames that are cut for a guest with few buffers', {
    sizes: [9000, 60],
    fromGuest: 0,
    toGuest: 6,
    cut: true,
    buffersMax: 5,
  }),
  shape('hooks that drop', { sizes: [60], fromGuest: 4, toGuest: 4 }, { hook: 'drop' }),
  shape('two queues, indices that wrap', {
    queues: 2,
    sizes: [60, 9000],
    fromGuest: 2,
    toGuest: 2,
    ringStart: NEAR_WRAP,
  }),
  shape(
    'a full ring',
    { sizes: [60], fromGuest: MORE_THAN_A_RING, toGuest: 0, ringStart: NEAR_WRAP },
    {},
    { long: true },
  ),
  shape('a guest that sets up hashing', { sizes: [9000, 60], fromGuest: 2, toGuest: 3, control: 'hash' }),
  shape('frames for other queues than they came in, indices that wrap', {
    queues: 2,
    sizes: [9000, 60],
    fromGuest: 0,
    toGuest: 4,
    // Far enough from 0, where guests begin, for the control ring to have a response before its index gets there.
    ringStart: NEAR_WRAP - 14,
    control: 'hash',
  }),
  shape('grants that stay mapped', { sizes: [9000, 60], fromGuest: 3, toGuest: 3, control: 'staged' }),
  shape('a guest that changes its multicast list', { multicast: 'few' }),
  shape('a multicast list that is full', { fromGuest: 0, toGuest: 0, multicast: 'full' }, {}, { long: true }),
  shape(
    'a rate, over several intervals',
    { sizes: [1514, 60], fromGuest: 12, rate: { bytes: 4000, intervalMs: 10 } },
    {},
    { lastsMs: 40 },
  ),
  shape(
    'a rate below the length of a frame, two queues',
    { sizes: [9000, 1514], queues: 2, fromGuest: 2, toGuest: 0, rate: { bytes: 5000, intervalMs: 7 } },
    {},
    { lastsMs: 30 },
  ),
  shape(
    'a vif that is made again, with frames in its port',
    PROGRAMMED,
    { processes: [rebooted('dies')] },
    { long: true, lastsMs: 30 },
  ),
  shape(
    'another connection of a guest that waits for no backend',
    { ...PROGRAMMED, atOnce: true },
    { processes: [rebooted('closes')] },
    { long: true, lastsMs: 30 },
  ),
  shape(
    'another connection with the names of the one before',
    { ...PROGRAMMED, atOnce: true, names: 'same' },
    { processes: [rebooted('closes')] },
    { long: true, lastsMs: 30 },
  ),
  shape('killed twice: one GSO frame each way', { sizes: [9000], ringStart: NEAR_WRAP }, {}, { twice: true }),
];

/** The scenarios that are killed at every step, by name, with both payload modes. */
export const EXHAUSTIVE: readonly Exhaustive[] = (['copy', 'map'] as const).flatMap((payload) =>
  SHAPES.map((one) => ({ ...one, scenario: { ...one.scenario, payload } })),
);

export function exhaustiveOf(payload: PayloadMode): readonly Exhaustive[] {
  return EXHAUSTIVE.filter(({ scenario }) => scenario.payload === payload);
}

/** A share of the first kills: every `of`-th from the one at `index`, from 0. All shares together are all kills. */
export interface Share {
  readonly index: number;
  readonly of: number;
}

const ALL: Share = { index: 0, of: 1 };

/**
 * Kills the backend at every step of a process, with one run for each step. With `twice` it also kills the next process at every step of that
 * one.
 * @param options fromAttach: the first kill falls once a guest is attached, because before that nothing needs to be completed.
 * @returns the results of all runs together.
 */
export async function exhaust(
  { name, twice, lastsMs, scenario }: Exhaustive,
  options: { onRun?: () => void; fromAttach?: boolean; share?: Share } = {},
): Promise<Tally> {
  const { onRun = () => {}, fromAttach = false, share = ALL } = options;
  const tally = new Tally();
  const killed = (...steps: number[]): Scenario => ({
    ...scenario,
    processes: [...scenario.processes, ...steps.map((atStep) => killedAt(atStep, lastsMs))],
  });
  const undisturbed = await runScenario(scenario);
  if (share.index === 0) tally.add(`${name}, payload ${scenario.payload}, undisturbed`, undisturbed);
  const begin = fromAttach ? undisturbed.attachStep : 1;
  for (let first = begin + share.index; first <= undisturbed.steps; first += share.of) {
    const once = await runScenario(killed(first));
    tally.add(`${name}, payload ${scenario.payload}, killed at step ${first}`, once);
    onRun();
    // Before a guest is attached, the next process completes only the beginning of the journals, before it attaches.
    const last = first < undisturbed.attachStep ? once.attachStep : once.steps;
    for (let second = 1; twice && second <= last; second++) {
      const both = await runScenario(killed(first, second));
      tally.add(`${name}, payload ${scenario.payload}, killed at steps ${first} and ${second}`, both);
      onRun();
    }
  }
  return tally;
}

function killedAt(atStep: number, lastsMs: number): ProcessPlan {
  // A second burst would make each run longer and find no more than the first.
  return { end: 'kill', atStep, lastsMs, bursts: ['after'], reboot: undefined, harm: undefined };
}
