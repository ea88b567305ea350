import type { Clock } from '../seam.js';

export interface PauseOptions {
  readonly clock: Clock;
  /** The first pause; each further one is twice as long, up to `mostMs`. */
  readonly firstMs: number;
  readonly mostMs: number;
  /** Ends a pause. */
  readonly signal: AbortSignal;
}

/**
 * Real time. Unlike the seam's clock, its timers keep the process alive: a program that waits for a lost xenstore has work
 * to do and must not end.
 */
export const wallClock: Clock = {
  now: () => {
    // Not from perf_hooks, which costs 6 ms to load.
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  },
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Real time for background work: its timers do not keep the process alive. */
export const idleClock: Clock = {
  now: wallClock.now,
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs).unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** The pauses between attempts that are repeated for ever: each twice as long as the one before, at most `mostMs`. */
export class Pauses {
  readonly #options: PauseOptions;
  #nextMs: number;

  constructor(options: PauseOptions) {
    this.#options = options;
    this.#nextMs = options.firstMs;
  }

  /** Resolves after a pause; the next one is longer. @throws the signal's reason if that fires first. */
  again(): Promise<void> {
    const { mostMs, clock, signal } = this.#options;
    const delayMs = Math.min(this.#nextMs, mostMs);
    this.#nextMs = delayMs * 2;
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const abandon = (): void => {
        timer[Symbol.dispose]();
        reject(signal.reason);
      };
      const timer = clock.after(delayMs, () => {
        signal.removeEventListener('abort', abandon);
        resolve();
      });
      signal.addEventListener('abort', abandon, { once: true });
    });
  }

  /** Makes the next pause as short as the first one. */
  reset(): void {
    this.#nextMs = this.#options.firstMs;
  }
}
