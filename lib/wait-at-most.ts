import type { Clock } from './xen/seam.js';

/** Resolves or rejects as `work` does, or resolves after `ms`. What becomes of `work` later is ignored. */
export async function waitAtMost(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  let timer: Disposable | undefined;
  const late = new Promise<void>((resolve) => {
    timer = clock.after(ms, resolve);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    timer?.[Symbol.dispose]();
  }
}
