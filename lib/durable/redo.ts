/**
 * What makes answering safe against a kill, in memory that outlives the process.
 *
 * A response overwrites the request that it answers, so between the first response and the store of `rsp_prod` a ring
 * holds slots that the next life would read as requests. All responses of a batch are therefore written here first, and
 * one store of `state` commits them. The next life publishes what was committed, if it follows the ring's own `rsp_prod`.
 *
 * The same store says which frames, lying beside the log, are taken and not yet passed on: from a guest that is
 * answered before its frames are written to the host's side, or to a guest that has no buffers yet. The next life
 * passes them on, so that an early answer is no lost frame.
 *
 * Layout in words: [state, base, base, responses]. `state` says which base counts: a commit must not change what the
 * state before it refers to.
 */
const STATE = 0;
const BASES = 1;
const HEADER_WORDS = 3;

// State: responses, first kept frame << 16, and flags.
const COUNT_MASK = 0xffff;
const FIRST_SHIFT = 16;
const FIRST_MASK = 0xfff;
/** The responses are complete here, and perhaps not in the ring. */
const COMMITTED = 1 << 28;
/** Frames are kept. */
const KEPT = 1 << 29;
const BASE_SHIFT = 30;

/** No frames are kept. */
export const NONE_KEPT = -1;

export class RedoLog {
  /** The committed responses. */
  readonly responses: Uint32Array;
  readonly #words: Uint32Array;
  readonly #responseWords: number;
  readonly #capacity: number;

  /** @param words `RedoLog.words(capacity, responseWords)` of them; what stands there is not trusted. */
  constructor(words: Uint32Array, responseWords: number) {
    this.#words = words;
    this.responses = words.subarray(HEADER_WORDS);
    this.#responseWords = responseWords;
    this.#capacity = Math.floor(this.responses.length / responseWords);
  }

  static words(capacity: number, responseWords: number): number {
    return HEADER_WORDS + capacity * responseWords;
  }

  /** The first frame that is kept, wherever in the ring; or NONE_KEPT. */
  get firstKept(): number {
    const state = Atomics.load(this.#words, STATE);
    return (state & KEPT) === 0 ? NONE_KEPT : (state >>> FIRST_SHIFT) & FIRST_MASK;
  }

  /**
   * @param base the ring's `rsp_prod`; `waiting` requests follow it.
   * @returns how many responses were committed for just this place in the ring, or 0.
   */
  committed(base: number, waiting: number): number {
    const state = Atomics.load(this.#words, STATE);
    const count = state & COUNT_MASK;
    const fits = count <= this.#capacity && count <= waiting;
    return fits && (state & COMMITTED) !== 0 && this.#base(state) === base >>> 0 ? count : 0;
  }

  /**
   * @param published the ring's `rsp_prod`, after what was committed is in it.
   * @returns the first frame that was kept at just this place in the ring, or NONE_KEPT.
   */
  kept(published: number): number {
    const state = Atomics.load(this.#words, STATE);
    const place = (this.#base(state) + (state & COUNT_MASK)) >>> 0;
    return place === published >>> 0 ? this.firstKept : NONE_KEPT;
  }

  /** Writes the responses, then the state, in this order for whoever looks after a kill. */
  commit(
    base: number,
    responses: Uint32Array,
    count: number,
    firstKept: number,
    afterStore: (() => void) | undefined,
  ): void {
    const words = this.#words;
    const length = count * this.#responseWords;
    const other = ((words[STATE] >>> BASE_SHIFT) & 1) ^ 1;
    words[BASES + other] = base;
    afterStore?.();
    for (let i = 0; i < length; i++) this.responses[i] = responses[i];
    afterStore?.();
    Atomics.store(words, STATE, COMMITTED | count | keeping(firstKept) | (other << BASE_SHIFT));
    afterStore?.();
  }

  /** The committed responses are in the ring. */
  settle(): void {
    const state = this.#words[STATE];
    Atomics.store(this.#words, STATE, (state & KEPT) === 0 ? 0 : state & ~COMMITTED);
  }

  /** Frames from `first` on are kept. Nothing is committed at this time. */
  keep(published: number, first: number, afterStore: (() => void) | undefined): void {
    const words = this.#words;
    const other = ((words[STATE] >>> BASE_SHIFT) & 1) ^ 1;
    words[BASES + other] = published;
    afterStore?.();
    Atomics.store(words, STATE, keeping(first) | (other << BASE_SHIFT));
    afterStore?.();
  }

  /** Nothing is committed and nothing kept. */
  clear(): void {
    Atomics.store(this.#words, STATE, 0);
  }

  #base(state: number): number {
    return this.#words[BASES + ((state >>> BASE_SHIFT) & 1)];
  }
}

function keeping(first: number): number {
  return first === NONE_KEPT ? 0 : KEPT | (first << FIRST_SHIFT);
}
