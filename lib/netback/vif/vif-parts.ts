import type { Journals } from '../../durable/journal.js';
import type { JournalVersion } from '../../durable/layout.js';
import type { VifdError } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import type { Events, Xen } from '../../xen/seam.js';
import type { VifFilter, VifHook } from '../frames/frame.js';
import type { GuestBudget } from '../guest/guest-budget.js';
import type { PayloadMode } from '../settings.js';
import type { VifId, VifInfo } from '../vif-info.js';
import type { Offer } from './offer.js';
import type { VifNode } from './vif-node.js';

/**
 * Why vifd detached from a vif's guest. 'released': another backend serves the vif from then on. 'port-lost': the port is gone (a tap was
 * deleted); vifd opens it anew. 'failed': the connection's memory was unmapped while in use, or the data path has a bug; vifd attaches
 * again.
 */
export type DetachReason =
  | 'failed'
  | 'guest-closed'
  | 'guest-gone'
  | 'journal-renewed'
  | 'port-lost'
  | 'protocol-error'
  | 'released'
  | 'shutdown';

/** How a backend has attached to a guest; the event `attached` has it. */
export interface AttachedHow {
  /** Whether a backend has moved a frame of this connection before: false for a guest that was connected and idle until now. */
  readonly resumed: boolean;
  /** The time from the opening of the port until frames can move. */
  readonly attachMs: number;
}

/** The event channels of one connection, which the next process can take over. Disposal unbinds all of them. */
export interface ConnectionChannels extends Disposable {
  readonly events: Events;
  /** Call it when all channels of the connection are bound. */
  keep(): void;
}

/** Never throws. Returns undefined where no process can take channels over: then a connection uses those of `Xen.events`. */
export type OpenChannels = (vif: VifId) => ConnectionChannels | undefined;

export interface VifParts {
  readonly xen: Xen;
  readonly openChannels: OpenChannels | undefined;
  readonly node: VifNode;
  readonly payload: PayloadMode;
  /** How many queues a guest may have. */
  readonly queues: number;
  readonly offer: Offer;
  readonly budget: GuestBudget;
  readonly journals: Journals | undefined;
  readonly journalVersion: JournalVersion;
  readonly filter: VifFilter | undefined;
  readonly hook: VifHook | undefined;
  readonly openPort: (info: VifInfo) => Port | Promise<Port>;
  readonly removeLeftPort: (vif: VifId) => void | Promise<void>;
  /** Decides whether to serve the vif (still). */
  readonly accepts: (vif: VifInfo) => Promise<boolean>;
  readonly onAttached: (how: AttachedHow) => void;
  readonly onDetached: (why: DetachReason) => void;
  readonly onRecovered: (queue: number) => void;
  readonly onError: (error: VifdError) => void;
  /** Called when the fault that this error reported is over. */
  readonly onMended: (error: VifdError) => void;
  /** Called when the program has closed the device. The vif still follows its node until that is gone. */
  readonly onClosed: () => void;
  /** Called when the guest connects again after that. */
  readonly onReopened: () => void;
  /** Called when the vif has ended in this process, because its node is gone or it was released. The caller may forget it. */
  readonly onGone: () => void;
}
