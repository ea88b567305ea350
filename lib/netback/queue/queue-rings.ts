import { RX_RING, TX_RING } from '../../protocol/ring.js';
import { UndoStack } from '../../undo.js';
import type { Xen } from '../../xen/seam.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import type { BackRing } from '../ring/back-ring.js';
import { mapRing } from '../ring/mapped-ring.js';
import type { QueueSettings } from '../settings.js';
import type { QueueJournal } from '../state/queue-journal.js';

export interface QueueRingsParts {
  readonly xen: Xen;
  readonly domid: number;
  readonly settings: QueueSettings;
  readonly journal: QueueJournal | undefined;
  /** Called when the host fails to unmap the rings' pages; the unmap is tried again. */
  readonly onFault: HostFaultListener;
}

/** Both rings of a queue, mapped, and attached where the previous process ended. */
export class QueueRings implements Disposable {
  readonly settings: QueueSettings;
  readonly fromGuest: BackRing;
  readonly toGuest: BackRing;
  /** Whether a previous process has served the rings. Frontends start rings at 0, so another index shows that. */
  readonly served: boolean;
  readonly #undo: UndoStack;

  /** @throws VifdError ERR_XEN_GRANT, ERR_PROTOCOL; ERR_HOST: try again later. After a throw no page is mapped. */
  constructor(parts: QueueRingsParts) {
    const { xen, domid, settings, journal } = parts;
    this.settings = settings;
    this.#undo = new UndoStack(parts.onFault);
    try {
      const fromGuest = { name: 'from-guest', ref: settings.txRingRef, shape: TX_RING };
      this.fromGuest = mapRing({ xen, domid, ...fromGuest, log: journal?.fromGuest.log }, this.#undo);
      const toGuest = { name: 'to-guest', ref: settings.rxRingRef, shape: RX_RING };
      this.toGuest = mapRing({ xen, domid, ...toGuest, log: journal?.toGuest.log }, this.#undo);
      this.served = this.fromGuest.responsesPublished !== 0 || this.toGuest.responsesPublished !== 0;
    } catch (error) {
      throw this.#undo.after(error);
    }
  }

  [Symbol.dispose](): void {
    this.#undo[Symbol.dispose]();
  }
}
