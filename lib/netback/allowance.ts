import type { Clock } from '../xen/types.js';

/** So many at once, and then one every `everyMs`; what is not used comes back at that rate. */
export class Allowance {
  readonly #clock: Clock;
  readonly #atOnceMs: number;
  readonly #everyMs: number;
  /** When all of it will be there again. */
  #fullMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, atOnce: number, everyMs: number) {
    this.#clock = clock;
    this.#atOnceMs = atOnce * everyMs;
    this.#everyMs = everyMs;
  }

  /** Takes `count`, at most what there is at once. @returns 0, or how long it takes until there are so many; none is taken then. */
  takeMs(count = 1): number {
    const waitMs = this.waitMs(count);
    if (waitMs === 0) this.#fullMs = Math.max(this.#fullMs, this.#clock.now()) + count * this.#everyMs;
    return waitMs;
  }

  /** As `takeMs`, and takes none. */
  waitMs(count = 1): number {
    const nowMs = this.#clock.now();
    return Math.max(0, Math.max(this.#fullMs, nowMs) + count * this.#everyMs - this.#atOnceMs - nowMs);
  }
}
