import type { PayloadMode } from '../lib/netback/settings.js';
import type { MulticastPlan } from './multicast.js';
import type { ControlPlan } from './programs.js';
import type { RatePlan } from './rate.js';

/** The most queues of a guest. */
export const SIM_QUEUES_MAX = 3;

/** How a guest and the host behind its vif behave. */
export interface GuestPlan {
  /** Lengths of frames in turn; longer than `mtuBytes` is GSO with its extra-info slot. */
  readonly sizes: readonly number[];
  readonly mtuBytes: number;
  readonly queues: number;
  /** Frames of a burst in each direction and queue. */
  readonly fromGuest: number;
  readonly toGuest: number;
  /** Where the rings' indices begin. */
  readonly ringStart: number;
  readonly splitChannels: boolean;
  readonly scatterGather: boolean;
  /** The guest takes no GSO frames, but the host's port sends some all the same, which vifd cuts. With one queue. */
  readonly cut: boolean;
  /** The most empty buffers that the guest posts. */
  readonly buffersMax: number;
  /** How late the guest handles an event. */
  readonly lateMs: number;
  /** Its control requests, with each burst. */
  readonly control: ControlPlan;
  /** How it changes its multicast list, with each burst. */
  readonly multicast: MulticastPlan;
  /** The rate that the toolstack sets; undefined: no limit. */
  readonly rate: RatePlan | undefined;
  /**
   * The names of a connection after a reboot: new grant references and ports of its rings, or those of the connection before. same: if the
   * guest reconnects while no backend runs, and the last process was killed before it wrote Connected and in the middle of the connection's
   * first batch, nothing distinguishes the two connections.
   */
  readonly names: 'other' | 'same';
  /** Whether it connects again without waiting for the backend, whose node is Connected or InitWait. */
  readonly atOnce: boolean;
}

/** How a vif's journal is spoilt while no backend runs. */
export type Harm = 'flip' | 'truncate' | 'foreign' | 'noise' | 'refuse';

/** The events of one guest around the end of a process. */
export interface Reboot {
  readonly guest: number;
  /** closes: its driver writes Closed into the store. dies: it writes nothing; the toolstack makes the vif anew. */
  readonly how: 'closes' | 'dies';
  /** Whether a backend runs meanwhile. */
  readonly when: 'served' | 'alone';
}

/** When each guest and its host send: as the process begins, and once it serves. between: only the host sends, once the process has ended. */
export type Burst = 'before' | 'after' | 'between';

/** A backend process, and the time after it. */
export interface ProcessPlan {
  readonly end: 'kill' | 'stop';
  /** The step at which it ends; a process with fewer steps ends when no event waits any more. */
  readonly atStep: number;
  /** How long it lasts at least, for guests that are late. */
  readonly lastsMs: number;
  readonly bursts: readonly Burst[];
  readonly reboot: Reboot | undefined;
  readonly harm: { readonly guest: number; readonly how: Harm } | undefined;
  /** Words of the journals that have, at the kill, the values of another order of stores. Default: none. */
  readonly tampered?: readonly TamperedWord[];
}

/** A word of a journal, counted from its beginning. */
export interface TamperedWord {
  readonly journal: string;
  readonly word: number;
  readonly value: number;
}

/** Faults that may occur at any time. Each is off at 0. */
export interface FaultPlan {
  /** Every n-th grant operation fails with GNTST_eagain. */
  readonly grantFailsEvery: number;
  readonly strayEventEvery: number;
  readonly watchesLate: boolean;
  /** Every n-th transaction meets a conflict. */
  readonly conflictEvery: number;
  /** Every n-th transaction or watch, all watches fire as after a reconnect. */
  readonly reconnectEvery: number;
  /** Every n-th frame finds the port full. */
  readonly portFullEvery: number;
  /** Every n-th frame is refused by the port, with EIO. */
  readonly portRefusesEvery: number;
}

export type HookPlan = 'none' | 'pass' | 'drop' | 'replace';

/** Everything that a run depends on. */
export interface Scenario {
  /** The seed of choices that the scenario leaves open: which bits flip. */
  readonly seed: number;
  /** The seed of the order of events; undefined: the order of sending. */
  readonly order: number | undefined;
  readonly payload: PayloadMode;
  readonly journal: boolean;
  readonly guests: readonly GuestPlan[];
  readonly faults: FaultPlan;
  readonly hook: HookPlan;
  /** One more process follows these; it lasts until no event waits, and ends in order. */
  readonly processes: readonly ProcessPlan[];
}

export const NO_FAULTS: FaultPlan = {
  grantFailsEvery: 0,
  strayEventEvery: 0,
  watchesLate: false,
  conflictEvery: 0,
  reconnectEvery: 0,
  portFullEvery: 0,
  portRefusesEvery: 0,
};

/** A guest without special properties. */
export const PLAIN_GUEST: GuestPlan = {
  sizes: [60],
  mtuBytes: 1514,
  queues: 1,
  fromGuest: 1,
  toGuest: 1,
  ringStart: 0,
  splitChannels: true,
  scatterGather: true,
  cut: false,
  buffersMax: 256,
  lateMs: 0,
  control: 'none',
  multicast: 'none',
  rate: undefined,
  names: 'other',
  atOnce: false,
};

/** One plain guest with these differences, on a machine without faults and without kills. */
export function plainScenario(guest: Partial<GuestPlan>, rest: Partial<Scenario> = {}): Scenario {
  return {
    seed: 1,
    order: undefined,
    payload: 'copy',
    journal: true,
    guests: [{ ...PLAIN_GUEST, ...guest }],
    faults: NO_FAULTS,
    hook: 'none',
    processes: [],
    ...rest,
  };
}
