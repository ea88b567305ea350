import type { Clock } from '../types.js';

export interface RetryOptions {
  readonly clock: Clock;
  /** The first pause; each further one is twice as long, up to `pauseMsMax`. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
  /** How long to try before giving up. */
  readonly giveUpMs: number;
  readonly signal: AbortSignal;
}

/**
 * Real time. Unlike the seam's clock it keeps the process alive: a program that waits for a lost xenstore has work
 * to do, and must not end as if it had none.
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

/**
 * Tries again and again, with pauses, until `attempt` resolves. The first try comes at once.
 * @throws the last error once `giveUpMs` have passed since `since`; the signal's reason when that fires.
 */
export async function retry<T>(attempt: () => Promise<T>, since: number, options: RetryOptions): Promise<T> {
  for (let pauseMs = options.pauseMs; ; pauseMs = Math.min(pauseMs * 2, options.pauseMsMax)) {
    options.signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      options.signal.throwIfAborted();
      if (options.clock.now() - since >= options.giveUpMs) throw error;
    }
    await pause(pauseMs, options);
  }
}

/** @throws the signal's reason when that fires first. */
export function pause(delayMs: number, { clock, signal }: RetryOptions): Promise<void> {
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
