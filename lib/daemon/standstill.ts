import type { Clock } from '../xen/seam.js';

const LOOK_MS = 250;
/** A pause up to this length is not reported: a busy host may delay a process that long. */
const LATE_MS = 1000;

/**
 * Reports when this process did not run for a while (SIGSTOP, a frozen cgroup, a paused domain, a host without a free processor):
 * its guests waited, and frames for them that did not fit into their taps' queues were lost.
 * @param onLate gets the monotonic ms that passed without a turn of the event loop.
 */
export function watchStandstill(clock: Clock, onLate: (lateMs: number) => void): Disposable {
  let lastMs = clock.now();
  let timer = clock.after(LOOK_MS, look);
  function look(): void {
    const nowMs = clock.now();
    const lateMs = nowMs - lastMs - LOOK_MS;
    lastMs = nowMs;
    timer = clock.after(LOOK_MS, look);
    if (lateMs >= LATE_MS) onLate(lateMs);
  }
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
