import type { Clock } from '../seam.js';

/** The monotonic clock. It uses `process.hrtime`, because loading perf_hooks costs 6 ms of each start (Node 20). */
export const systemClock: Clock = {
  now: monotonicMs,
  after: (delayMs, fire) => {
    if (delayMs <= 0) {
      // With a reference. Without one, the loop may sleep in epoll_wait until something else happens (node's env.cc), and a
      // queue whose events are masked until this turn would wait for ever.
      const immediate = setImmediate(fire);
      return { [Symbol.dispose]: () => clearImmediate(immediate) };
    }
    const timer = setTimeout(fire, delayMs).unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
