import type { Direction, Frame, FrameStream } from './frame.js';
import type { Hooks } from './hooks.js';

const LIMIT_DEFAULT = 1024;

/**
 * Returns copies of passing frames as an async iterator with a bounded queue. A slow reader misses frames, which are counted, but delays
 * none.
 */
export function frameStream(
  hooks: Hooks,
  options: { direction?: Direction; signal?: AbortSignal; limit?: number },
): FrameStream {
  const limit = options.limit ?? LIMIT_DEFAULT;
  const queue: Frame[] = [];
  let waiting: ((result: IteratorResult<Frame>) => void) | undefined;
  let ended = false;
  let missed = 0;

  const hook = hooks.add((frame, direction) => {
    if (options.direction === undefined || direction === options.direction) {
      if (waiting !== undefined) {
        waiting({ value: frame.copy(), done: false });
        waiting = undefined;
      } else if (queue.length < limit) queue.push(frame.copy());
      else missed++;
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

  const iterator: FrameStream = {
    get missed() {
      return missed;
    },
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
