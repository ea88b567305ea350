import type { Hooks } from './hooks.js';
import type { Direction, Frame } from './types.js';

const LIMIT_DEFAULT = 1024;

/** Copies of passing frames as an async iterator, with a bounded queue: a slow reader misses frames, never delays them. */
export function frameStream(
  hooks: Hooks,
  options: { direction?: Direction; signal?: AbortSignal; limit?: number },
): AsyncIterableIterator<Frame> {
  const limit = options.limit ?? LIMIT_DEFAULT;
  const queue: Frame[] = [];
  let waiting: ((result: IteratorResult<Frame>) => void) | undefined;
  let ended = false;

  const hook = hooks.add((frame, direction) => {
    if (options.direction === undefined || direction === options.direction) {
      if (waiting !== undefined) {
        waiting({ value: frame.copy(), done: false });
        waiting = undefined;
      } else if (queue.length < limit) queue.push(frame.copy());
    }
    return 'pass';
  });
  const end = () => {
    ended = true;
    hook[Symbol.dispose]();
    options.signal?.removeEventListener('abort', end);
    waiting?.({ value: undefined, done: true });
    waiting = undefined;
  };
  if (options.signal?.aborted) end();
  options.signal?.addEventListener('abort', end, { once: true });

  const iterator: AsyncIterableIterator<Frame> = {
    next(): Promise<IteratorResult<Frame>> {
      const frame = queue.shift();
      if (frame !== undefined) return Promise.resolve({ value: frame, done: false });
      if (ended) return Promise.resolve({ value: undefined, done: true });
      return new Promise((resolve) => {
        waiting = resolve;
      });
    },
    return() {
      end();
      return Promise.resolve({ value: undefined, done: true });
    },
    [Symbol.asyncIterator]: () => iterator,
  };
  return iterator;
}
