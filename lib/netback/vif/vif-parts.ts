import type { Journals } from '../../durable/journal.js';
import type { JournalVersion } from '../../durable/layout.js';
import type { VifdError } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import type { Xen } from '../../xen/seam.js';
import type { VifHook } from '../frames/frame.js';
import type { GuestBudget } from '../guest/guest-budget.js';
import type { PayloadMode } from '../settings.js';
import type { VifId, VifInfo } from '../vif-info.js';
import type { Offer } from './offer.js';
import type { VifNode } from './vif-node.js';

/**
 * Why a vif was detached. 'released': for another backend, which serves it from then on. 'port-lost': its port is gone (a tap was
 * deleted) and is opened anew. 'failed': its memory was taken away beneath it, or the data path has a mistake; it is attached
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

export interface AttachedHow {
  /** A backend has served this connection of the guest before. */
  readonly resumed: boolean;
  /** From opening the port to the moment when frames can move. */
  readonly attachMs: number;
}

export interface VifParts {
  readonly xen: Xen;
  readonly node: VifNode;
  readonly payload: PayloadMode;
  /** How many a guest may have. */
  readonly queues: number;
  readonly offer: Offer;
  readonly budget: GuestBudget;
  readonly journals: Journals | undefined;
  readonly journalVersion: JournalVersion;
  readonly hook: VifHook | undefined;
  readonly openPort: (info: VifInfo) => Port | Promise<Port>;
  readonly removeLeftPort: (vif: VifId) => void | Promise<void>;
  /** Whether the vif is (still) to be served. */
  readonly accepts: (vif: VifInfo) => Promise<boolean>;
  readonly onAttached: (how: AttachedHow) => void;
  readonly onDetached: (why: DetachReason) => void;
  readonly onRecovered: (queue: number) => void;
  readonly onError: (error: VifdError) => void;
  /** What this error reported is over. */
  readonly onMended: (error: VifdError) => void;
  /** The vif has ended here, since its node is gone or it was released: it may be forgotten. */
  readonly onGone: () => void;
}
