import { Backoff } from '../backoff.js';
import type { Clock } from '../xen/seam.js';

/** The shortest time between two looks. Each reads the store for all guests. */
const PAUSE_MS = 250;

/** Looks for vifs when a worker asks for that: at once, but no more often than four times a second, whatever workers ask. */
export class LookAgain implements Disposable {
  readonly #clock: Clock;
  readonly #next: Backoff;
  #lookedMs: number;

  constructor(clock: Clock, look: () => void) {
    this.#clock = clock;
    this.#lookedMs = clock.now() - PAUSE_MS;
    this.#next = new Backoff(
      clock,
      () => {
        this.#lookedMs = clock.now();
        look();
      },
      0,
      0,
    );
  }

  ask(): void {
    this.#next.again(this.#lookedMs + PAUSE_MS - this.#clock.now());
  }

  [Symbol.dispose](): void {
    this.#next.cancel();
  }
}
