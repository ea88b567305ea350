import type { Clock } from '../../xen/seam.js';
import { CONNECTION_EVERY_MS, type GuestBudget } from '../guest/guest-budget.js';
import type { VifFaults } from './vif-faults.js';

export interface ConnectionPacingParts {
  readonly clock: Clock;
  readonly budget: GuestBudget;
  readonly faults: VifFaults;
  /** Called when a connection that had to wait may be served. */
  readonly onAdmission: () => void;
}

/** Delays the connections of one vif while its guest's budget of connections is used up. */
export class ConnectionPacing {
  readonly #parts: ConnectionPacingParts;
  /** Whether the guest's present connection was admitted. */
  #admitted = false;
  /**
   * Whether the vif has had no connection yet. The first one of each vif costs nothing: the toolstack decides how many vifs a guest has, and a
   * guest with many connects all of them when it starts.
   */
  #isFirst = true;
  /** The timer, while the guest's connection waits. */
  #waiting: Disposable | undefined;

  constructor(parts: ConnectionPacingParts) {
    this.#parts = parts;
  }

  /** @returns whether the guest may connect now. If not, this reports the wait, and `onAdmission` ends it. */
  admit(): boolean {
    this.#admitted ||= this.#isFirst;
    this.#isFirst = false;
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

  /** Call it when the connection is over: the next one needs its own admission. */
  next(): void {
    this.#admitted = false;
  }

  /** Call it when the vif ends: stops the wait. */
  end(): void {
    this.#waiting?.[Symbol.dispose]();
    this.#parts.faults.forget((kind) => kind === 'admission');
  }

  /** Waits for the admission. libuv's timers may fire up to a turn early; the connection then continues to wait, without another report. */
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
