import { Backoff } from '../../backoff.js';
import { systemClock } from './clock.js';

/** Repeats calls that end the use of a grant or port and that the host failed to do, until they succeed. */
export class LateEnds {
  readonly #ends = new Set<() => number>();
  readonly #backoff = new Backoff(systemClock, () => this.#again());
  #waiting: (() => void)[] = [];

  /** Runs `end`, and again after each errno. @param end returns 0 or -errno. @returns the result of the first run. */
  run(end: () => number): number {
    const error = end();
    if (error < 0) {
      this.#ends.add(end);
      this.#backoff.again();
    }
    return error;
  }

  /** Runs `then` once no call remains to be repeated. */
  whenEnded(then: () => void): void {
    this.#waiting.push(then);
    this.#report();
  }

  #again(): void {
    for (const end of [...this.#ends]) if (end() >= 0) this.#ends.delete(end);
    if (this.#ends.size === 0) this.#backoff.reset();
    else this.#backoff.again();
    this.#report();
  }

  #report(): void {
    if (this.#ends.size > 0) return;
    for (const then of this.#waiting.splice(0)) then();
  }
}
