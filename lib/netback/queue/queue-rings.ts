import type { RedoLog } from '../../durable/redo.js';
import { VifdError } from '../../errors.js';
import { type RingShape, RX_RING, TX_RING } from '../../protocol/ring.js';
import { UndoStack } from '../../undo.js';
import type { Xen } from '../../xen/seam.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import { BackRing } from '../ring/back-ring.js';
import type { QueueSettings } from '../settings.js';
import type { QueueJournal } from '../state/queue-journal.js';

export interface QueueRingsParts {
  readonly xen: Xen;
  readonly domid: number;
  readonly settings: QueueSettings;
  readonly journal: QueueJournal | undefined;
  /** Hears of pages that the host cannot unmap when they end; it is tried again. */
  readonly onFault: HostFaultListener;
}

/** Both rings of a queue, mapped, each where earlier lives ended. */
export class QueueRings implements Disposable {
  readonly settings: QueueSettings;
  readonly fromGuest: BackRing;
  readonly toGuest: BackRing;
  /** An earlier life of the backend has served them: frontends begin rings at 0. */
  readonly served: boolean;
  readonly #undo: UndoStack;

  /** @throws VifdError ERR_XEN_GRANT, ERR_PROTOCOL; ERR_HOST, to be tried again. Nothing is held then. */
  constructor(parts: QueueRingsParts) {
    const { settings, journal, domid } = parts;
    this.settings = settings;
    this.#undo = new UndoStack(parts.onFault);
    try {
      const txPage = this.#map(parts, settings.txRingRef);
      const rxPage = this.#map(parts, settings.rxRingRef);
      const ring = (page: Uint8Array, shape: RingShape, log: RedoLog | undefined) =>
        new BackRing(page, shape, log, parts.xen.step?.bind(parts.xen, 'store to shared memory'));
      this.fromGuest = ring(txPage, TX_RING, journal?.fromGuest.log);
      this.toGuest = ring(rxPage, RX_RING, journal?.toGuest.log);
      if (!this.fromGuest.attach()) throw beyond('from-guest', domid);
      if (!this.toGuest.attach()) throw beyond('to-guest', domid);
      this.served = this.fromGuest.responsesPublished !== 0 || this.toGuest.responsesPublished !== 0;
    } catch (error) {
      throw this.#undo.after(error);
    }
  }

  [Symbol.dispose](): void {
    this.#undo[Symbol.dispose]();
  }

  #map({ xen, domid }: QueueRingsParts, ref: number): Uint8Array {
    const mapping = xen.grants.map(domid, [ref], 'write');
    this.#undo.defer(() => mapping.unmap());
    return mapping.page(0);
  }
}

function beyond(direction: string, domid: number): VifdError {
  return new VifdError(
    'ERR_PROTOCOL',
    `cannot attach to the ${direction} ring of domain ${domid}: req_prod - rsp_prod exceeds the ring`,
  );
}
