import { systemClock } from '../xen/native/clock.js';

/** Measures how much of a core this process uses. */
export class LoadMeter {
  #usedMs = usedMs();
  #atMs = systemClock.now();

  /** Returns the part of a core (0 to 1) that was used since the last call. */
  take(): number {
    const [before, beforeMs] = [this.#usedMs, this.#atMs];
    this.#usedMs = usedMs();
    this.#atMs = systemClock.now();
    const load = (this.#usedMs - before) / (this.#atMs - beforeMs);
    // Threads of Node and of the kernel add to that of the event loop.
    return Math.min(Math.max(load, 0), 1) || 0;
  }
}

function usedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
