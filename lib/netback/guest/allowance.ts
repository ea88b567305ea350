import type { Clock } from '../../xen/seam.js';

/** A token bucket: `atOnce` tokens at once, and one more every `everyMs`. Its state is one number, so that a flood of requests is cheap. */
export class Allowance {
  readonly #clock: Clock;
  readonly #atOnceMs: number;
  readonly #everyMs: number;
  /** When the bucket is full again (monotonic ms). */
  #fullMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, atOnce: number, everyMs: number) {
    this.#clock = clock;
    this.#atOnceMs = atOnce * everyMs;
    this.#everyMs = everyMs;
  }

  /** Takes `count` tokens, at most `atOnce`. @returns 0; or, if there are fewer, how long to wait for `count` (ms), and takes none. */
  takeMs(count = 1): number {
    const waitMs = this.waitMs(count);
    if (waitMs === 0) this.#fullMs = Math.max(this.#fullMs, this.#clock.now()) + count * this.#everyMs;
    return waitMs;
  }

  /** As `takeMs`, without taking any. */
  waitMs(count = 1): number {
    const nowMs = this.#clock.now();
    return Math.max(0, Math.max(this.#fullMs, nowMs) + count * this.#everyMs - this.#atOnceMs - nowMs);
  }
}
