import type { Clock } from '../../xen/seam.js';

/** A frame that the guest posts no buffers for is dropped after this, as by Linux's netback (rx_drain_timeout_msecs). */
export const DRAIN_MS = 10_000;
/** A guest that has frames waiting and took none for this long is stalled (rx_stall_timeout_msecs). */
export const STALL_MS = 60_000;
/** A guest without feature-rx-notify tells nobody when it posts buffers: look again so often (xenbus.c, 30 ms). */
export const SILENT_LOOK_MS = 30;

export interface StallListener {
  /** The guest takes no frames; it goes on by itself when it does. */
  onStall(): void;
  /** It does. */
  onRecovery(): void;
}

/**
 * How long frames wait for a guest that has no room for them. The time begins when a frame waits and ends when one is
 * delivered; a guest that posts a buffer too few for the frame has not ended it (XSA-392).
 */
export class Patience {
  readonly #clock: Clock;
  readonly #tells: boolean;
  readonly #told: StallListener;
  #stalled = false;
  #lapsed = false;
  /** Since when something waits: at all, and what waits now. */
  #stuckMs: number | undefined;
  #waitsMs: number | undefined;

  /** @param tells the guest tells when it posts buffers; only of such a guest it can be said that it stalls. */
  constructor(clock: Clock, tells: boolean, told: StallListener) {
    this.#clock = clock;
    this.#tells = tells;
    this.#told = told;
  }

  /** The guest has had frames waiting for a minute, and took none. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** For how long there was no room for what waits. */
  get waitedMs(): number {
    if (this.#lapsed) return Number.POSITIVE_INFINITY;
    return this.#waitsMs === undefined ? 0 : this.#clock.now() - this.#waitsMs;
  }

  /** Frames were dropped that waited long enough, and there was no room since. */
  get lapsed(): boolean {
    return this.#lapsed;
  }

  /** Frames move, or could: none waits, and there is room for such as did. */
  end(): void {
    this.#stuckMs = undefined;
    this.#waitsMs = undefined;
    this.#lapsed = false;
    if (!this.#stalled) return;
    this.#stalled = false;
    this.#told.onRecovery();
  }

  /** Frames wait. @returns milliseconds until somebody should look again; 0: they have waited long enough. */
  waitMs(): number {
    const now = this.#clock.now();
    this.#stuckMs ??= now;
    this.#waitsMs ??= now;
    if (this.#tells && !this.#stalled && now - this.#stuckMs >= STALL_MS) {
      this.#stalled = true;
      this.#told.onStall();
    }
    const leftMs = this.#waitsMs + DRAIN_MS - now;
    if (leftMs <= 0) {
      // What comes next begins to wait anew.
      this.#waitsMs = undefined;
      this.#lapsed = true;
      return 0;
    }
    return this.#tells ? leftMs : Math.min(leftMs, SILENT_LOOK_MS);
  }
}
