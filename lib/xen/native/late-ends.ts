import { Backoff } from '../../backoff.js';
import { systemClock } from './clock.js';

/** What the host could not end when it was to end: tried again until it does, so that no grant and no port stays in use. */
export class LateEnds {
  readonly #ends = new Set<() => number>();
  readonly #backoff = new Backoff(systemClock, () => this.#again());
  #waiting: (() => void)[] = [];

  /** Runs `end`, which returns 0 or -errno and may be run again after an errno. @returns what it did the first time. */
  run(end: () => number): number {
    const error = end();
    if (error < 0) {
      this.#ends.add(end);
      this.#backoff.again();
    }
    return error;
  }

  /** Runs `then` as soon as all has ended. */
  whenEnded(then: () => void): void {
    this.#waiting.push(then);
    this.#tell();
  }

  #again(): void {
    for (const end of [...this.#ends]) if (end() >= 0) this.#ends.delete(end);
    if (this.#ends.size === 0) this.#backoff.reset();
    else this.#backoff.again();
    this.#tell();
  }

  #tell(): void {
    if (this.#ends.size > 0) return;
    for (const then of this.#waiting.splice(0)) then();
  }
}
