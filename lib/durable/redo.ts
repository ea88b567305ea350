import { Banks } from './banks.js';
import type { DurableWords, ReadonlyWords } from './durable-words.js';
import { REDO_LOG } from './layout.js';

/**
 * What makes answering safe against a kill, in memory that outlives the process.
 *
 * A response overwrites the request that it answers, so between the first response and the store of `rsp_prod` a ring
 * holds slots that the next process would read as requests. All responses of a batch are therefore written here first, and
 * one store of `state` commits them. The next process publishes what was committed, if it follows the ring's own `rsp_prod`.
 *
 * The same store says which frames, lying beside the log, are taken and not yet passed on: from a guest that is
 * answered before its frames are written to the host's side, or to a guest that has no buffers yet. The next process
 * passes them on, so that an early answer is no lost frame.
 *
 * `state` selects which of the two bases counts: a commit must not change what the state before it refers to.
 */
const { state: STATE, bases: BASES, responses: RESPONSES } = REDO_LOG.at;

// State: responses, first kept frame << 16, and flags.
const COUNT_MASK = 0xffff;
const FIRST_SHIFT = 16;
const FIRST_MASK = 0xfff;
/** The responses are complete here, and perhaps not in the ring. */
const COMMITTED = 1 << 28;
/** Frames are kept. */
const KEPT = 1 << 29;
const BASE_BIT = 30;

/** No frames are kept. */
export const NONE_KEPT = -1;

export class RedoLog {
  /** The committed responses. */
  readonly responses: ReadonlyWords;
  readonly #words: DurableWords;
  readonly #state: ReadonlyWords;
  readonly #bases: Banks;
  readonly #responseWords: number;
  readonly #capacity: number;

  /** @param words `RedoLog.words(capacity, responseWords)` of them; what stands there is not trusted. */
  constructor(words: DurableWords, responseWords: number) {
    this.#words = words;
    this.#state = words.view;
    this.#bases = new Banks(words, { first: BASES, bankWords: 1, bit: BASE_BIT });
    this.responses = words.part(RESPONSES, words.length - RESPONSES).view;
    this.#responseWords = responseWords;
    this.#capacity = Math.floor(this.responses.length / responseWords);
  }

  static words(capacity: number, responseWords: number): number {
    return RESPONSES + capacity * responseWords;
  }

  /** The first frame that is kept, wherever in the ring; or NONE_KEPT. */
  get firstKept(): number {
    const state = this.#state[STATE];
    return (state & KEPT) === 0 ? NONE_KEPT : (state >>> FIRST_SHIFT) & FIRST_MASK;
  }

  /**
   * @param base the ring's `rsp_prod`; `waiting` requests follow it.
   * @returns how many responses were committed for just this place in the ring, or 0.
   */
  committed(base: number, waiting: number): number {
    const state = this.#state[STATE];
    const count = state & COUNT_MASK;
    const fits = count <= this.#capacity && count <= waiting;
    return fits && (state & COMMITTED) !== 0 && this.#state[this.#bases.current] === base >>> 0 ? count : 0;
  }

  /**
   * @param published the ring's `rsp_prod`, after what was committed is in it.
   * @returns the first frame that was kept at just this place in the ring, or NONE_KEPT.
   */
  kept(published: number): number {
    const place = (this.#state[this.#bases.current] + (this.#state[STATE] & COUNT_MASK)) >>> 0;
    return place === published >>> 0 ? this.firstKept : NONE_KEPT;
  }

  /** Writes the responses, then the state, in this order for whoever looks after a kill. */
  commit(base: number, responses: ReadonlyWords, count: number, firstKept: number): void {
    const words = this.#words;
    words.store(this.#bases.other, base);
    words.copy(RESPONSES, responses, count * this.#responseWords);
    this.#bases.commit(COMMITTED | count | keeping(firstKept));
  }

  /** Records that the committed responses are in the ring. To be called as `clearBetweenCalls`. */
  settle(): void {
    const state = this.#state[STATE];
    this.#words.store(STATE, (state & KEPT) === 0 ? 0 : state & ~COMMITTED);
  }

  /** Frames from `first` on are kept. Nothing is committed at this time. */
  keep(published: number, first: number): void {
    this.#words.store(this.#bases.other, published);
    this.#bases.commit(keeping(first));
  }

  /** Nothing is committed and nothing kept. */
  clear(): void {
    this.#words.commit(STATE, 0);
  }

  /**
   * As `clear`, by a plain store: `Atomics.store` is a call that V8 does not inline, of 10 to 15 ns. For callers that make a call of that
   * kind (`Atomics`, or into native code) before this and another after it, with no store to durable memory between: V8 can neither
   * drop the store nor move it past such a call, so a process that is killed leaves the log as the program has it.
   */
  clearBetweenCalls(): void {
    this.#words.store(STATE, 0);
  }
}

function keeping(first: number): number {
  return first === NONE_KEPT ? 0 : KEPT | (first << FIRST_SHIFT);
}
