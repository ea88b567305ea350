import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_EVERY_MS = 10;

/** Calls `holds` until it returns a truthy value, or until the time is over. @returns its last result. */
export async function until<T>(holds: () => T | Promise<T>, withinMs: number): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await holds();
    if (value || Date.now() >= deadline) return value;
    await sleep(LOOK_EVERY_MS);
  }
}
