import type { Clock } from './xen/seam.js';

/** The longest pause between two attempts while a guest has no network. */
const MOST_MS = 1000;
const FIRST_MS = 20;

/** Runs something again, after pauses that double up to `mostMs` until `reset`. */
export class Backoff {
  readonly #clock: Clock;
  readonly #run: () => void;
  readonly #firstMs: number;
  readonly #mostMs: number;
  #pauseMs: number;
  #timer: Disposable | undefined;

  constructor(clock: Clock, run: () => void, firstMs = FIRST_MS, mostMs = MOST_MS) {
    this.#clock = clock;
    this.#run = run;
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#pauseMs = firstMs;
  }

  /** Schedules the next run, unless one is scheduled: after this pause, or after `leastMs` if that is longer. */
  again(leastMs = 0): void {
    if (this.#timer !== undefined) return;
    const pauseMs = Math.max(this.#pauseMs, leastMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, this.#mostMs);
    this.#timer = this.#clock.after(pauseMs, () => {
      this.#timer = undefined;
      this.#run();
    });
  }

  /** Call it after a success: cancels the next run, and makes the next pause as short as the first one. */
  reset(): void {
    this.cancel();
    this.#pauseMs = this.#firstMs;
  }

  /** Cancels the next run. */
  cancel(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }
}
