import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_EVERY_MS = 10;

/** Resolves as soon as `holds` does, or is not undefined, or when the time is over. @returns what it returned last. */
export async function until<T>(holds: () => T | Promise<T>, withinMs: number): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await holds();
    if (value || Date.now() >= deadline) return value;
    await sleep(LOOK_EVERY_MS);
  }
}
