import type { Clock } from '../../xen/seam.js';

/** A frame that the guest posts no buffers for is dropped after this, as by Linux's netback (rx_drain_timeout_msecs). */
export const DRAIN_MS = 10_000;
/** A guest that had frames waiting and took none for this long is stalled (rx_stall_timeout_msecs). */
export const STALL_MS = 60_000;
/** A guest without feature-rx-notify sends no event when it posts buffers: vifd looks again this often (xenbus.c, 30 ms). */
export const SILENT_LOOK_MS = 30;

/**
 * How long frames wait for a guest that has no room for them. The time begins when a frame waits and ends when one is delivered. A guest
 * that posts a buffer too few for the frame does not end it (XSA-392).
 */
export class StallTimer {
  readonly #clock: Clock;
  readonly #notifies: boolean;
  #stalled = false;
  #lapsed = false;
  /** When frames first waited with none delivered since, and when the current head began to wait (monotonic ms). */
  #firstMs: number | undefined;
  #headMs: number | undefined;

  /** @param notifies the guest sends an event when it posts buffers. vifd cannot tell whether another guest stalls. */
  constructor(clock: Clock, notifies: boolean) {
    this.#clock = clock;
    this.#notifies = notifies;
  }

  /** The guest had frames waiting for STALL_MS, and took none since. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** Frames were dropped that had waited for DRAIN_MS, and the guest took none since. */
  get lapsed(): boolean {
    return this.#lapsed;
  }

  /** For how long the current head has waited; infinite once it has lapsed. */
  get waitedMs(): number {
    if (this.#lapsed) return Number.POSITIVE_INFINITY;
    return this.#headMs === undefined ? 0 : this.#clock.now() - this.#headMs;
  }

  /** Frames wait: the times begin, if they have not. @returns whether the guest is stalled from now on. */
  begin(): boolean {
    const now = this.#clock.now();
    this.#firstMs ??= now;
    this.#headMs ??= now;
    if (!this.#notifies || this.#stalled || now - this.#firstMs < STALL_MS) return false;
    this.#stalled = true;
    return true;
  }

  /**
   * Call it after `begin`. When the time is up, the next head begins to wait anew.
   * @returns milliseconds until vifd looks again; 0: the head has waited long enough, and is to be dropped.
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

  /** The guest took frames, or none wait and it has room for those that did. @returns whether it was stalled until now. */
  end(): boolean {
    this.#firstMs = undefined;
    this.#headMs = undefined;
    this.#lapsed = false;
    const wasStalled = this.#stalled;
    this.#stalled = false;
    return wasStalled;
  }
}
