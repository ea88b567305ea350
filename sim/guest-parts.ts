import type { ModelHypervisor, ModelXen } from '../lib/testing/model/index.js';
import type { Generator, Netfront } from '../lib/testing/netfront/index.js';
import type { ArenaPool } from './arenas.js';
import type { MulticastProgram } from './multicast.js';
import type { SimPort } from './port.js';
import type { ControlProgram } from './programs.js';
import type { RateMeter } from './rate.js';
import type { FaultPlan, GuestPlan } from './scenario.js';
import type { Stream } from './stream.js';

export interface GuestParts {
  readonly hypervisor: ModelHypervisor;
  readonly arenas: ArenaPool;
  readonly toolstack: ModelXen;
  readonly index: number;
  readonly plan: GuestPlan;
  readonly faults: FaultPlan;
  /** The process that runs, or the last one. */
  readonly processNow: () => number;
  /** The steps that it has taken. */
  readonly stepNow: () => number;
  /** Returns the guest to which a frame's seed belongs. */
  readonly ownerOf: (seed: number) => number | undefined;
}

/** One connection of the guest: from its beginning to its reboot. */
export interface Connection {
  readonly xen: ModelXen;
  /** By queue. */
  readonly ports: readonly SimPort[];
  readonly generators: readonly Generator[];
  readonly fromGuest: readonly Stream[];
  front: Netfront | undefined;
  program: ControlProgram | undefined;
  multicast: MulticastProgram | undefined;
  /** Undefined for a guest without a rate. */
  meter: RateMeter | undefined;
  /** Whether a process has attached to it, and dropped the frames of earlier connections. */
  begun: boolean;
  /** As `SimGuest.spoiltAfter`, for processes that may concern this connection. */
  readonly spoiltAfter: Set<number>;
}
