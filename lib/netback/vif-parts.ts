import { VifdError, vifdErrorOf } from '../errors.js';
import type { Port } from '../ports/types.js';
import type { Xen } from '../xen/types.js';
import type { GuestBudget } from './guest-budget.js';
import type { Journals } from './journal.js';
import type { Offer } from './offer.js';
import type { PayloadMode, VifHook, VifId, VifInfo } from './types.js';
import type { Vif } from './vif.js';
import type { VifNode } from './vif-node.js';

/**
 * Why a vif was detached. 'released': for another backend, which goes on with it. 'port-lost': its port is gone (a tap was
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
  /** An earlier life of the backend served this connection of the guest. */
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
  readonly hook: VifHook | undefined;
  readonly openPort: (info: VifInfo) => Port | Promise<Port>;
  readonly removeLeftPort: (vif: VifId) => void | Promise<void>;
  /** Whether the vif is (still) to be served. */
  readonly accepts: (vif: VifInfo) => Promise<boolean>;
  readonly onAttached: (vif: Vif, how: AttachedHow) => void;
  readonly onDetached: (vif: Vif, why: DetachReason) => void;
  readonly onRecovered: (vif: Vif, queue: number) => void;
  readonly onError: (error: VifdError, vif: Vif) => void;
  /** What this error reported is over. */
  readonly onMended: (error: VifdError, vif: Vif) => void;
  /** The vif has ended here, since its node is gone or it was released: it may be forgotten. */
  readonly onGone: (vif: Vif) => void;
}

/** What a call gets that would tell a guest something on behalf of a vif that another backend may serve by now. */
export function ended(id: VifId): VifdError {
  return new VifdError('ERR_STATE', `${id} was detached: open the Netback again, and use its vif.`, {
    vif: id,
  });
}

/** @returns what was thrown as an error whose message names the vif. */
export function named(id: VifId, thrown: unknown): VifdError {
  const error = vifdErrorOf(thrown);
  const { code, message, errno } = error;
  if (message.includes(id)) return error;
  const details = { vif: id, cause: thrown, ...(errno === undefined ? {} : { errno }) };
  return new VifdError(code, `${id}: ${message}`, details);
}
