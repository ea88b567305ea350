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
    this.#atOnceMs = (atOnce - 1) * everyMs;
    this.#everyMs = everyMs;
  }

  /** Takes one. @returns 0, or how long it takes until there is one; none is taken then. */
  takeMs(): number {
    const nowMs = this.#clock.now();
    const fullMs = Math.max(this.#fullMs, nowMs);
    const waitMs = fullMs - this.#atOnceMs - nowMs;
    if (waitMs > 0) return waitMs;
    this.#fullMs = fullMs + this.#everyMs;
    return 0;
  }
}
