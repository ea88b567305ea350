import { Random } from '../lib/testing/model/random.js';
import type { MulticastPlan } from './multicast.js';
import type { ControlPlan } from './programs.js';
import type { RatePlan } from './rate.js';
import {
  type Burst,
  type FaultPlan,
  type GuestPlan,
  type Harm,
  type HookPlan,
  NO_FAULTS,
  PLAIN_GUEST,
  type ProcessPlan,
  type Reboot,
  type Scenario,
  SIM_QUEUES_MAX,
} from './scenario.js';

/** The most processes that end before the last one. */
const PROCESSES_MAX = 5;
/** A process that moves a few dozen frames takes some hundred steps; most of the attach is in the first 60. */
const STEPS_FEW = 60;
const STEPS_MANY = 700;
/** A GSO frame of the largest size needs 18 buffers at once. */
const BUFFERS_MIN = 18;
const RING_SLOTS = 256;
const HARMS: readonly Harm[] = ['flip', 'truncate', 'foreign', 'noise', 'refuse'];
const MULTICASTS: readonly MulticastPlan[] = ['none', 'none', 'none', 'few', 'few', 'full'];
/** The most intervals of a burst. A scenario has at most 12 bursts. */
const INTERVALS_MAX = 20;
const INTERVAL_MS_MAX = 30;
const HOOKS: readonly HookPlan[] = ['pass', 'drop', 'replace'];

interface Load {
  readonly sizes: readonly number[];
  readonly mtuBytes: number;
  readonly framesMax: number;
}

const LOADS: readonly Load[] = [
  { sizes: [60], mtuBytes: 1514, framesMax: 40 },
  // More frames than the ring has slots.
  { sizes: [60], mtuBytes: 1514, framesMax: 300 },
  { sizes: [60, 1514, 590], mtuBytes: 1514, framesMax: 30 },
  { sizes: [9000], mtuBytes: 1514, framesMax: 20 },
  { sizes: [60, 9000, 1514, 4096, 65535], mtuBytes: 1514, framesMax: 15 },
  { sizes: [65535], mtuBytes: 1514, framesMax: 12 },
  // Jumbo frames: many slots and no extra info.
  { sizes: [9014, 60, 4032, 4033], mtuBytes: 9014, framesMax: 25 },
];
/** For guests that take one slot a frame. */
const PLAIN_LOADS = LOADS.slice(0, 3);

/** @param killsMax after this many kills, processes end in order. */
export function drawScenario(seed: number, killsMax: number): Scenario {
  const dice = new Dice(seed);
  const guests = Array.from({ length: dice.oneOf([1, 1, 1, 2, 2, 3]) }, () => drawGuest(dice));
  let kills = 0;
  const processes = Array.from({ length: dice.upTo(PROCESSES_MAX) }, () => {
    const process = drawProcess(dice, guests.length, kills < killsMax);
    if (process.end === 'kill') kills += 1;
    return process;
  });
  return {
    seed,
    order: dice.often(70) ? seed : undefined,
    payload: dice.oneOf(['copy', 'map']),
    journal: true,
    guests,
    faults: dice.often(60) ? NO_FAULTS : drawFaults(dice),
    hook: dice.often(70) ? 'none' : dice.oneOf(HOOKS),
    processes,
  };
}

function drawGuest(dice: Dice): GuestPlan {
  const scatterGather = dice.often(90);
  const { sizes, mtuBytes, framesMax } = dice.oneOf(scatterGather ? LOADS : PLAIN_LOADS);
  const frames = dice.upTo(framesMax);
  const queues = dice.oneOf([1, 1, 1, 2, SIM_QUEUES_MAX]);
  const multicast = dice.oneOf(MULTICASTS);
  const atOnce = dice.often(25);
  // At 0, where guests begin and where a new connection differs from one that was served before; or at a place from which the indices wrap.
  const beginsAtZero = multicast !== 'none' || atOnce;
  const anywhere = [0, 0x1_0000_0000 - dice.upTo(RING_SLOTS), dice.below(0x1_0000_0000)];
  return {
    ...PLAIN_GUEST,
    sizes,
    mtuBytes,
    queues,
    fromGuest: dice.often(20) ? 0 : frames,
    toGuest: dice.often(20) ? 0 : frames,
    ringStart: beginsAtZero ? 0 : dice.oneOf(anywhere),
    splitChannels: dice.often(50),
    scatterGather,
    buffersMax: dice.often(60) ? RING_SLOTS : BUFFERS_MIN + dice.below(40),
    lateMs: dice.often(60) ? 0 : dice.upTo(20),
    control: drawControl(dice, queues),
    cut: scatterGather && queues === 1 && dice.often(20),
    multicast,
    rate: dice.often(70) ? undefined : drawRate(dice, sizes, frames * queues),
    atOnce,
  };
}

/** Chosen so that a burst takes a few intervals, and all of them end before the last process. */
function drawRate(dice: Dice, sizes: readonly number[], frames: number): RatePlan {
  const bytes = frames * (sizes.reduce((sum, size) => sum + size, 0) / sizes.length);
  return { bytes: Math.ceil(bytes / dice.upTo(INTERVALS_MAX)) + 60, intervalMs: dice.upTo(INTERVAL_MS_MAX) };
}

/** With several queues, hashing mostly chooses among them. */
function drawControl(dice: Dice, queues: number): ControlPlan {
  return dice.oneOf(queues === 1 ? ['none', 'none', 'hash', 'staged'] : ['none', 'hash', 'hash', 'staged']);
}

function drawProcess(dice: Dice, guests: number, mayKill: boolean): ProcessPlan {
  const bursts = dice.oneOf<readonly Burst[]>([
    ['before'],
    ['after'],
    ['before', 'after'],
    ['after', 'between'],
    [],
  ]);
  const atStep = dice.oneOf([STEPS_FEW, STEPS_MANY, STEPS_MANY]);
  return {
    end: mayKill && dice.often(75) ? 'kill' : 'stop',
    atStep: dice.often(15) ? Number.POSITIVE_INFINITY : dice.upTo(atStep),
    lastsMs: dice.below(30),
    bursts,
    reboot: dice.often(10) ? drawReboot(dice, guests) : undefined,
    harm: dice.often(12) ? { guest: dice.below(guests), how: dice.oneOf(HARMS) } : undefined,
  };
}

function drawReboot(dice: Dice, guests: number): Reboot {
  return {
    guest: dice.below(guests),
    how: dice.oneOf(['closes', 'dies']),
    when: dice.oneOf(['served', 'alone']),
  };
}

/** Draws one or two kinds of faults: with all at once few requests would succeed. */
function drawFaults(dice: Dice): FaultPlan {
  const kinds: readonly Partial<FaultPlan>[] = [
    { grantFailsEvery: 2 + dice.below(40) },
    { strayEventEvery: 2 + dice.below(6) },
    { watchesLate: true },
    { conflictEvery: 2 + dice.below(3) },
    { reconnectEvery: 1 + dice.below(8) },
    { portFullEvery: 3 + dice.below(20) },
    { portRefusesEvery: 2 + dice.below(20) },
  ];
  return { ...NO_FAULTS, ...dice.oneOf(kinds), ...(dice.often(50) ? dice.oneOf(kinds) : {}) };
}

/** Draws all values in a fixed order, so that a seed determines the scenario. */
class Dice extends Random {
  /** @returns an integer in [1, most]. */
  upTo(most: number): number {
    return 1 + this.below(most);
  }

  often(percent: number): boolean {
    return this.below(100) < percent;
  }

  oneOf<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }
}
