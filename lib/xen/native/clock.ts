import { performance } from 'node:perf_hooks';
import type { Clock } from '../types.js';

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (delayMs, fire) => {
    if (delayMs <= 0) {
      const immediate = setImmediate(fire).unref();
      return { [Symbol.dispose]: () => clearImmediate(immediate) };
    }
    const timer = setTimeout(fire, delayMs).unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
