import { VifdError, type VifdErrorCode, vifdErrorOf } from '../errors.js';
import type { VifDetails } from '../netback/show.js';
import type { Admission, Named, VifPlace } from '../netback/vif/directory.js';
import type { AttachedHow, DetachReason } from '../netback/vif/vif-parts.js';
import type { VifId, VifState } from '../netback/vif-info.js';
import type { StoredPort } from '../xen/seam.js';

/** Increased when a supervisor and a worker of different versions would misunderstand each other. */
export const LINK_PROTOCOL = 2;
/** The most bytes of a message. The details of a vif have about 3 KB. */
export const MESSAGE_BYTES_MAX = 64 << 10;
/** The most descriptors of a message: one for each queue of a tap, and one of the event channels. */
export const DESCRIPTORS_MAX = 17;
/** The most event channels of a connection: two for each of 16 queues, and one of the control ring. */
export const CHANNELS_MAX = 33;
/** The most characters of a reason or an error's message; the worker cuts longer ones. */
export const REASON_MAX = 1000;
/** The most vifs of a worker: their names fit into one message. */
export const WORKER_VIFS_MAX = 2048;

/** A failure as it crosses the link: what `VifdError` is made of again. */
export interface LinkError {
  readonly code: VifdErrorCode;
  readonly message: string;
  readonly errno: string | undefined;
  readonly vif: string | undefined;
}

/** What a supervisor asks a worker to do. A request with a number gets one response with the same number. */
export type Request =
  /**
   * Serve the vif at a place (`VifServer.found`). Beside it: the descriptors of its tap, in the order of `descriptors`, and the one of its event
   * channels if `ports` names any.
   */
  | {
      readonly ask: 'found';
      readonly number: number;
      readonly place: VifPlace;
      readonly connectedOnly: boolean;
      /** Names of the descriptors (`vif7.0`, `vif7.0.q1`). */
      readonly descriptors: readonly string[];
      readonly ports: readonly StoredPort[];
      /** The process that served the vif before, and that serves no more: it may not be gone yet, and may still have the vif's lock. */
      readonly from: number | undefined;
    }
  | { readonly ask: 'show'; readonly number: number; readonly vif: VifId }
  | { readonly ask: 'forget'; readonly number: number; readonly vif: VifId }
  /** Detach from every guest and end. The response comes when all are detached; then the worker ends. */
  | { readonly ask: 'end'; readonly number: number };

/** What a supervisor tells a worker, as the methods of `VifServer`. */
export type Notice =
  | { readonly tell: 'changed'; readonly path: string; readonly named: Named }
  | { readonly tell: 'domain-gone'; readonly domid: number }
  | { readonly tell: 'store-returned' };

export type ToWorker = Request | Notice;

/** The result of a request: of 'found' an Admission, of 'show' a VifDetails, else null. */
export type Response =
  | { readonly number: number; readonly result: Admission | VifDetails | null }
  | { readonly number: number; readonly error: LinkError };

/** What a worker reports by itself. */
export type Report =
  /** The first message of a worker on each link. */
  | {
      readonly report: 'hello';
      readonly protocol: number;
      /** vifd's version. */
      readonly version: string;
      readonly pid: number;
      /** The vifs that it serves already, or looks at: none, unless an earlier supervisor died. */
      readonly vifs: readonly VifId[];
    }
  /** The worker serves this vif from now on, or its state or reason has changed. */
  | {
      readonly report: 'vif';
      readonly vif: VifId;
      readonly state: VifState;
      readonly reason: string | undefined;
    }
  | { readonly report: 'attached'; readonly vif: VifId; readonly how: AttachedHow }
  | { readonly report: 'detached'; readonly vif: VifId; readonly why: DetachReason }
  /** The vif has ended in this worker, and its lock is free. There may be a new vif at its place (`Discovery.lookAt`). */
  | { readonly report: 'gone'; readonly vif: VifId }
  /** A vif that the worker refused may be served now, by something other than the store (`Ownership.onChange`): look for vifs again. */
  | { readonly report: 'look-again' }
  /** Store a descriptor, which is beside the message, or close a stored one (`DescriptorKeeper`). */
  | { readonly report: 'keep'; readonly name: string }
  | { readonly report: 'forget-descriptor'; readonly name: string }
  /** Store the descriptor of the vif's event channels, which is beside the message, in place of an earlier one; or close it. */
  | { readonly report: 'keep-channels'; readonly vif: VifId; readonly ports: readonly StoredPort[] }
  | { readonly report: 'forget-channels'; readonly vif: VifId }
  /** The event loop is alive, and how much of a core the worker used since the last report (0 to 1). */
  | { readonly report: 'alive'; readonly load: number };

export type FromWorker = Response | Report;

/** A failure as it crosses the link. */
export function linkErrorOf(thrown: unknown): LinkError {
  const { code, message, errno, vif } = vifdErrorOf(thrown);
  return { code, message, errno, vif };
}

export function errorOf({ code, message, errno, vif }: LinkError): VifdError {
  const details = { ...(errno !== undefined && { errno }), ...(vif !== undefined && { vif }) };
  return new VifdError(code, message, details);
}
