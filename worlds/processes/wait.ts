import { WorldError } from '../world-error.js';

export interface WaitOptions {
  /** The name of the awaited event, for the message when it takes too long. */
  readonly what: string | (() => string);
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 15_000;

/** A promise that other code resolves. */
export interface Promised {
  readonly done: Promise<void>;
  keep(): void;
}

export function promised(): Promised {
  let keep = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    keep = resolve;
  });
  return { done, keep };
}

/** Waits for `done` for a limited time. @throws WorldError if it takes too long; the signal's reason. */
export async function within<T>(done: Promise<T>, options: WaitOptions): Promise<T> {
  const { what, signal, timeoutMs = TIMEOUT_MS } = options;
  let giveUp = (_reason: unknown): void => undefined;
  const never = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  const late = () => {
    const text = typeof what === 'string' ? what : what();
    giveUp(new WorldError(`${text} took longer than ${timeoutMs / 1000} s`));
  };
  const timer = setTimeout(late, timeoutMs);
  const onAbort = () => giveUp(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([done, never]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
