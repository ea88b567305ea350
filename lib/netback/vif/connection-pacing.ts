import type { Clock } from '../../xen/seam.js';
import { CONNECTION_EVERY_MS, type GuestBudget } from '../guest/guest-budget.js';
import type { VifFaults } from './vif-faults.js';

export interface ConnectionPacingParts {
  readonly clock: Clock;
  readonly budget: GuestBudget;
  readonly faults: VifFaults;
  /** The guest has a connection that costs none of its budget. */
  readonly isAdmitted: boolean;
  /** A connection that came too soon may be served now. */
  readonly onAdmission: () => void;
}

/** Makes the connections of one vif wait while its guest's budget of connections is used up. */
export class ConnectionPacing {
  readonly #parts: ConnectionPacingParts;
  /** The guest's connection is one of those that it may have. */
  #admitted: boolean;
  /** Set while the guest waits for a connection. */
  #waiting: Disposable | undefined;

  constructor(parts: ConnectionPacingParts) {
    this.#parts = parts;
    this.#admitted = parts.isAdmitted;
  }

  /** @returns whether the guest may connect now; otherwise it waits, which is reported, until `onAdmission`. */
  admit(): boolean {
    if (this.#admitted) return true;
    if (this.#waiting !== undefined) return false;
    const { faults, budget } = this.#parts;
    const waitMs = budget.connections.takeMs();
    this.#admitted = waitMs === 0;
    if (this.#admitted) return true;
    const message =
      `its guest connects more often than every ${CONNECTION_EVERY_MS / 1000} s, so this connection waits for ${Math.ceil(waitMs)} ms: ` +
      'look into the guest, whose driver is reloaded or which starts again and again';
    faults.begin('admission', faults.about('ERR_PACED', message));
    this.#await(waitMs);
    return false;
  }

  /** The connection is over: the next one needs an admission of its own. */
  next(): void {
    this.#admitted = false;
  }

  /** The vif ends: nothing waits any more. */
  end(): void {
    this.#waiting?.[Symbol.dispose]();
    this.#parts.faults.forget((kind) => kind === 'admission');
  }

  /** libuv's timers may fire up to a turn early: then the connection waits on, without another report. */
  #await(waitMs: number): void {
    const { faults, clock, budget, onAdmission } = this.#parts;
    this.#waiting = clock.after(Math.ceil(waitMs), () => {
      const leftMs = budget.connections.waitMs();
      if (leftMs > 0) return this.#await(leftMs);
      this.#waiting = undefined;
      faults.end('admission');
      onAdmission();
    });
  }
}
