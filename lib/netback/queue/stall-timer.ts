import type { Clock } from '../../xen/seam.js';

/** How long a frame waits for the guest's buffers before it is dropped, as by Linux's netback (rx_drain_timeout_msecs). */
export const DRAIN_MS = 10_000;
/** A guest is stalled if frames have waited for this long and it took none (rx_stall_timeout_msecs). */
export const STALL_MS = 60_000;
/** How often vifd reads the ring of a guest without feature-rx-notify, which sends no event when it posts buffers (xenbus.c, 30 ms). */
export const SILENT_LOOK_MS = 30;

/**
 * Measures how long frames wait for a guest that has no room for them. The time begins when a frame waits and ends when one is delivered. It
 * does not end if the guest posts buffers, but too few for the frame (XSA-392).
 */
export class StallTimer {
  readonly #clock: Clock;
  readonly #notifies: boolean;
  #stalled = false;
  #lapsed = false;
  /** When frames first waited with none delivered since, and when the current head began to wait (monotonic ms). */
  #firstMs: number | undefined;
  #headMs: number | undefined;

  /** @param notifies whether the guest sends an event when it posts buffers. vifd cannot tell whether a guest that does not is stalled. */
  constructor(clock: Clock, notifies: boolean) {
    this.#clock = clock;
    this.#notifies = notifies;
  }

  /** Whether frames have waited for STALL_MS, and the guest has taken none since. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** Whether frames were dropped after DRAIN_MS, and the guest has taken none since. */
  get lapsed(): boolean {
    return this.#lapsed;
  }

  /** For how long the current head has waited; infinite once it has lapsed. */
  get waitedMs(): number {
    if (this.#lapsed) return Number.POSITIVE_INFINITY;
    return this.#headMs === undefined ? 0 : this.#clock.now() - this.#headMs;
  }

  /** Call it when frames wait; starts the times unless they run. @returns whether the guest is stalled from now on. */
  begin(): boolean {
    const now = this.#clock.now();
    this.#firstMs ??= now;
    this.#headMs ??= now;
    if (!this.#notifies || this.#stalled || now - this.#firstMs < STALL_MS) return false;
    this.#stalled = true;
    return true;
  }

  /**
   * Call it after `begin`. When the head's time is up, the time of the next head starts.
   * @returns milliseconds until vifd reads the ring again; 0: the head has waited long enough, and must be dropped.
   */
  leftMs(): number {
    const now = this.#clock.now();
    const leftMs = (this.#headMs ?? now) + DRAIN_MS - now;
    if (leftMs <= 0) {
      this.#headMs = undefined;
      this.#lapsed = true;
      return 0;
    }
    return this.#notifies ? leftMs : Math.min(leftMs, SILENT_LOOK_MS);
  }

  /**
   * Call it when the guest took frames, or when no frame waits and the guest has room.
   * @returns whether the guest was stalled until now.
   */
  end(): boolean {
    this.#firstMs = undefined;
    this.#headMs = undefined;
    this.#lapsed = false;
    const wasStalled = this.#stalled;
    this.#stalled = false;
    return wasStalled;
  }
}
