import type { DurableWords, ReadonlyWords } from './durable-words.js';
import { REDO_LOG } from './layout.js';

/**
 * A log, in memory that outlives the process, that makes the publication of responses safe against a kill.
 *
 * A response overwrites its request in the ring. Between the first response and the store of `rsp_prod`, the ring therefore has slots that
 * the next process would read as requests. vifd writes all responses of a batch to this log first, and one store of `state` commits them.
 * The next process publishes the committed responses if they follow the ring's own `rsp_prod`.
 *
 * The same store records which frames are pending; their bytes lie beside the log. A frame from the guest is pending if vifd has responded
 * to the guest and the port has not written the frame; a frame to the guest is pending while the guest has no buffers. The next process
 * passes pending frames on, so an early response loses no frame.
 *
 * `state` also selects the valid base of two, because a commit must not change the base that the previous state refers to.
 *
 * All stores to the log are plain, since `Atomics.store` is a call of 10 to 15 ns, which V8 does not inline. No other process reads the log
 * while this one runs. V8 neither drops stores to typed arrays nor changes their order, so a kill leaves them in program order
 * (docs/journal.md, "The order of stores").
 */
const { state: STATE, bases: BASES, responses: RESPONSES } = REDO_LOG.at;

// State: number of responses, first pending frame << 16, and flags.
const COUNT_MASK = 0xffff;
const FIRST_SHIFT = 16;
const FIRST_MASK = 0xfff;
/** The responses are complete in the log, and perhaps not in the ring. */
const COMMITTED = 1 << 28;
/** Frames are pending. */
const PENDING = 1 << 29;
/** Selects the second base. */
const SECOND_BASE = 1 << 30;

/** No frame is pending. */
export const NONE_PENDING = -1;

export class RedoLog {
  /** The committed responses. Between `settle` and `commit`, a caller may prepare the next ones here, which saves `commit` a copy. */
  readonly responses: Uint32Array;
  readonly #words: DurableWords;
  readonly #state: ReadonlyWords;
  readonly #responseWords: number;
  readonly #capacity: number;

  /** @param words `RedoLog.words(capacity, responseWords)` words. Their content is not trusted. */
  constructor(words: DurableWords, responseWords: number) {
    this.#words = words;
    this.#state = words.view;
    this.responses = words.drafts(RESPONSES, words.length - RESPONSES);
    this.#responseWords = responseWords;
    this.#capacity = Math.floor(this.responses.length / responseWords);
  }

  static words(capacity: number, responseWords: number): number {
    return RESPONSES + capacity * responseWords;
  }

  /** The first pending frame, whatever the place of the ring; or NONE_PENDING. */
  get firstPending(): number {
    const state = this.#state[STATE];
    return (state & PENDING) === 0 ? NONE_PENDING : (state >>> FIRST_SHIFT) & FIRST_MASK;
  }

  /**
   * @param base the ring's `rsp_prod`; `waiting` requests follow it.
   * @returns how many responses are committed for exactly this place in the ring, or 0.
   */
  committed(base: number, waiting: number): number {
    const state = this.#state[STATE];
    const count = state & COUNT_MASK;
    const fits = count <= this.#capacity && count <= waiting;
    return fits && (state & COMMITTED) !== 0 && this.#base === base >>> 0 ? count : 0;
  }

  /**
   * @param published the ring's `rsp_prod` after the committed responses.
   * @returns the first frame that is pending at exactly this place in the ring, or NONE_PENDING.
   */
  pendingAt(published: number): number {
    const place = (this.#base + (this.#state[STATE] & COUNT_MASK)) >>> 0;
    return place === published >>> 0 ? this.firstPending : NONE_PENDING;
  }

  /** Writes the responses and then the state, so that a kill never leaves a state without its responses. */
  commit(base: number, responses: ReadonlyWords, count: number, firstPending: number): void {
    const words = this.#words;
    const other = ~this.#state[STATE] & SECOND_BASE;
    words.store(other === 0 ? BASES : BASES + 1, base);
    if (responses !== this.responses) words.copy(RESPONSES, responses, count * this.#responseWords);
    words.store(STATE, COMMITTED | count | pendingBits(firstPending) | other);
  }

  /** Records that the committed responses are in the ring. */
  settle(): void {
    const state = this.#state[STATE];
    this.#words.store(STATE, (state & PENDING) === 0 ? 0 : state & ~COMMITTED);
  }

  /** Records that frames from `first` on are pending. No responses may be committed at this time. */
  setPending(published: number, first: number): void {
    const words = this.#words;
    const other = ~this.#state[STATE] & SECOND_BASE;
    words.store(other === 0 ? BASES : BASES + 1, published);
    words.store(STATE, pendingBits(first) | other);
  }

  /** Records that no responses are committed and no frames are pending. */
  clear(): void {
    this.#words.store(STATE, 0);
  }

  /** The valid base. */
  get #base(): number {
    return this.#state[(this.#state[STATE] & SECOND_BASE) === 0 ? BASES : BASES + 1];
  }
}

function pendingBits(first: number): number {
  return first < 0 ? 0 : PENDING | (first << FIRST_SHIFT);
}
