import { VifdError } from '../../errors.js';
import type { CapturedFrame, Direction, Frame, FrameStream, FramesOptions } from './frame.js';

const LIMIT_DEFAULT = 1024;
/** A copy has up to 64 KiB, so this many take 64 MiB with small frames and 4 GiB at most. */
const LIMIT_MAX = 65_536;
const END: IteratorReturnResult<undefined> = { value: undefined, done: true };

/** What a stream needs of its vif. */
export interface StreamSource {
  /** Shows each passing frame to `see`, until disposal. */
  readonly follow: (see: (frame: Frame, direction: Direction) => void) => Disposable;
  /** Monotonic ms. */
  readonly now: () => number;
  /** Called once, when the stream has ended. */
  readonly onEnd: (stream: CopiedFrames) => void;
}

/**
 * Copies of passing frames as an async iterator with a bounded queue. A slow reader misses frames, which are counted, but delays none.
 */
export class CopiedFrames implements FrameStream {
  readonly #options: FramesOptions;
  readonly #source: StreamSource;
  readonly #limit: number;
  readonly #following: Disposable;
  /** Copies that wait for a call of `next`; empty while such a call waits. */
  readonly #copies: CapturedFrame[] = [];
  /** Calls of `next` that wait for a copy, in order. */
  readonly #calls: ((result: IteratorResult<CapturedFrame, undefined>) => void)[] = [];
  readonly #onAbort = (): void => this.end();
  #ended = false;
  #missed = 0;

  /** @throws VifdError ERR_ARGUMENT. */
  constructor(options: FramesOptions, source: StreamSource) {
    const { limit = LIMIT_DEFAULT, signal } = options;
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= LIMIT_MAX)) {
      const message = `${limit} is no limit of waiting frames: give a whole number from 1 to ${LIMIT_MAX}.`;
      throw new VifdError('ERR_ARGUMENT', message);
    }
    this.#options = options;
    this.#source = source;
    this.#limit = limit;
    this.#following = source.follow((frame, direction) => this.#see(frame, direction));
    if (signal?.aborted) this.end();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get missed(): number {
    return this.#missed;
  }

  next(): Promise<IteratorResult<CapturedFrame, undefined>> {
    const copy = this.#copies.shift();
    if (copy !== undefined) return Promise.resolve({ value: copy, done: false });
    if (this.#ended) return Promise.resolve(END);
    return new Promise((resolve) => {
      this.#calls.push(resolve);
    });
  }

  /** Ends the stream and drops the copies that wait. */
  return(): Promise<IteratorResult<CapturedFrame, undefined>> {
    this.#copies.length = 0;
    this.end();
    return Promise.resolve(END);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the stream after the copies that wait. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#following[Symbol.dispose]();
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    for (const resolve of this.#calls.splice(0)) resolve(END);
    this.#source.onEnd(this);
  }

  #see(frame: Frame, direction: Direction): void {
    const { direction: wanted } = this.#options;
    if (wanted !== undefined && wanted !== direction) return;
    const call = this.#calls.shift();
    if (call === undefined && this.#copies.length >= this.#limit) {
      this.#missed++;
      return;
    }
    const copy = Object.assign(frame.copy(), { direction, timeMs: this.#source.now() });
    if (call === undefined) this.#copies.push(copy);
    else call({ value: copy, done: false });
  }
}
