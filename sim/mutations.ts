import { type GuestPlan, NO_FAULTS, type ProcessPlan, plainScenario, type Scenario } from './scenario.js';
import type { Change, LoggedStep } from './store-log.js';

/** A wrong order of two stores, or of a store and an action. The right order is `earlier`, then `later`. */
export interface Mutation {
  readonly name: string;
  readonly scenario: Scenario;
  /** How long a process that is killed lasts at most. */
  readonly lastsMs: number;
  /** The processes before the one that is killed, if they depend on the stores of an undisturbed one. */
  readonly before?: (undisturbed: readonly LoggedStep[]) => readonly ProcessPlan[];
  /** The stores that come too late: their words still have the earlier values when `later` is complete. */
  readonly earlier?: (change: Change) => boolean;
  /** The action before which `later` is stored too early. Instead of `earlier`. */
  readonly deed?: (step: LoggedStep) => boolean;
  readonly later: (change: Change, step: LoggedStep) => boolean;
  /** Only stores to other journals than that of `later` come too late. */
  readonly elsewhere?: boolean;
}

/** Indices wrap while the guest sets up hashing. */
const CONTROL_NEAR_WRAP = 0xfffffffc;

const MIXED: Partial<GuestPlan> = {
  sizes: [9000, 60],
  fromGuest: 4,
  toGuest: 8,
  buffersMax: 18,
  lateMs: 5,
};
const SORTED: Partial<GuestPlan> = {
  queues: 2,
  sizes: [9000, 60],
  fromGuest: 0,
  // More than a batch, so that the second one finds the places of the first.
  toGuest: 80,
  control: 'hash',
};
const CUT: Partial<GuestPlan> = { sizes: [9000], fromGuest: 0, toGuest: 3, cut: true, buffersMax: 5 };
const HASHED: Partial<GuestPlan> = { sizes: [60], fromGuest: 1, toGuest: 3, control: 'hash' };
const STAGED: Partial<GuestPlan> = { sizes: [60], fromGuest: 2, toGuest: 2, control: 'staged' };
const LISTED: Partial<GuestPlan> = { fromGuest: 1, toGuest: 1, multicast: 'few' };
const LIMITED: Partial<GuestPlan> = { sizes: [1514], fromGuest: 12, rate: { bytes: 4000, intervalMs: 10 } };

/** A number that no domain has. */
const NOBODY = 0xffff_ffff;

const begins = (path: string) => (change: Change) => change.path.startsWith(path);
const is = (path: string) => (change: Change) => change.path === path;

function mutation(
  name: string,
  guest: Partial<GuestPlan>,
  order: Omit<Mutation, 'name' | 'scenario' | 'lastsMs'>,
  more: { readonly lastsMs?: number; readonly processes?: readonly ProcessPlan[] } = {},
): Mutation {
  const { lastsMs = 0, processes = [] } = more;
  return { name, scenario: plainScenario(guest, { faults: NO_FAULTS, processes }), lastsMs, ...order };
}

/** A process that is killed at a step, and a guest that begins another connection before the next one runs. */
function reconnected(atStep: number, how: 'dies' | 'closes'): ProcessPlan {
  return {
    end: 'kill',
    atStep,
    lastsMs: 5,
    bursts: ['after', 'between'],
    reboot: { guest: 0, how, when: 'alone' },
    harm: undefined,
  };
}

/**
 * Kills the first process once it has committed responses and none of them is in the ring. The next connection's ring has the same address.
 */
function killedAtCommit(undisturbed: readonly LoggedStep[]): readonly ProcessPlan[] {
  const commit = undisturbed.find(({ changes }) => changes.some(is('fromGuestLog.state')));
  return commit === undefined ? [] : [reconnected(commit.step, 'closes')];
}

/**
 * Whether the store completes the initialization of a journal: of one without a magic number, or of one that belongs to another connection
 * and is invalid meanwhile.
 */
function makesOurs({ path, old, now }: Change): boolean {
  return (path === 'head.magic' && now !== 0) || (path === 'head.names[0]' && old === NOBODY);
}

/** The wrong order for each structure of the journals whose stores have an order. */
export const MUTATIONS: readonly Mutation[] = [
  mutation('redo log: commits before the responses', MIXED, {
    earlier: begins('fromGuestLog.responses'),
    later: is('fromGuestLog.state'),
  }),
  mutation('redo log, to the guest: commits before the responses', MIXED, {
    earlier: begins('toGuestLog.responses'),
    later: is('toGuestLog.state'),
  }),
  mutation(
    'redo log, to the guest: commits before the base',
    { ...MIXED, ringStart: 1000 },
    {
      earlier: begins('toGuestLog.bases'),
      later: is('toGuestLog.state'),
    },
  ),
  mutation('pending frames: counts a frame before it is there', SORTED, {
    // The earlier content is another frame.
    earlier: ({ path, old }) => path.startsWith('toGuestFrames.frames') && old > 0,
    later: ({ path, now }) => path === 'toGuestFrames.header.count' && now > 1,
  }),
  mutation('pending frames: removes a frame before its copy counts', SORTED, {
    earlier: ({ path }) => path === 'toGuestFrames.header.count' || path === 'toGuestLog.state',
    later: ({ path, now }) => /^toGuestFrames\.frames\[\d+\]\.length$/.test(path) && now === 0,
    elsewhere: true,
  }),
  mutation('pending frames: records segments before the guest has them', CUT, {
    deed: ({ what }) => /^batch\.(copyToGuest|mapToGuest)$/.test(what),
    later: ({ path, now }) => /^toGuestFrames\.frames\[\d+\]\.status$/.test(path) && now > 0,
  }),
  mutation('hash: selects a bank before it is written', HASHED, {
    earlier: begins('hash.banks'),
    later: is('hash.selected'),
  }),
  mutation('staged grants: selects a bank before it is written', STAGED, {
    earlier: begins('staging.banks'),
    later: is('staging.selected'),
  }),
  mutation('multicast list: takes a place before the address is there', LISTED, {
    earlier: begins('multicast.addresses'),
    later: begins('multicast.taken'),
  }),
  mutation(
    'rate: adds what an interval brings before the end is moved',
    LIMITED,
    { earlier: begins('credit.end'), later: is('credit.left') },
    { lastsMs: 40 },
  ),
  mutation(
    'rate: takes frames before they are charged',
    LIMITED,
    { earlier: is('credit.left'), later: is('fromGuestLog.state') },
    { lastsMs: 40 },
  ),
  mutation(
    'control ring: responds before it records the wrap',
    { ...HASHED, ringStart: CONTROL_NEAR_WRAP },
    {
      earlier: is('controlWrapped'),
      later: is('control.state'),
    },
  ),
  mutation(
    'old frames: records that they are dropped before they are',
    {},
    { deed: ({ what }) => what === 'port read', later: ({ path, now }) => path === 'fresh' && now === 0 },
    { processes: [reconnected(Number.POSITIVE_INFINITY, 'dies')] },
  ),
  mutation(
    'beginning of a journal: names it before the content is cleared',
    { sizes: [60], fromGuest: 2, toGuest: 4, atOnce: true },
    {
      before: killedAtCommit,
      earlier: ({ path, now }) => !path.startsWith('head.') && now === 0,
      later: makesOurs,
    },
  ),
];
