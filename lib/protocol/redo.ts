/**
 * What makes answering safe against a kill: a response overwrites the request that it answers, so between the first
 * response and the store of `rsp_prod` a ring holds slots that the next life would read as requests. All responses of a
 * batch are therefore written here first, in memory that outlives the process; `count` commits them. The next life
 * publishes what was committed, if it follows the ring's own `rsp_prod`.
 *
 * Layout in words: [base, count, responses].
 */
const BASE = 0;
const COUNT = 1;
const HEADER_WORDS = 2;

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

  /**
   * @param base the ring's `rsp_prod`; `waiting` requests follow it.
   * @returns how many responses were committed for just this place in the ring, or 0.
   */
  committed(base: number, waiting: number): number {
    const count = Atomics.load(this.#words, COUNT);
    const fits = count <= this.#capacity && count <= waiting;
    return fits && this.#words[BASE] === base >>> 0 ? count : 0;
  }

  /** Writes the responses, then `count`, in this order for whoever looks after a kill. */
  commit(base: number, responses: Uint32Array, count: number, afterStore: (() => void) | undefined): void {
    const length = count * this.#responseWords;
    this.#words[BASE] = base;
    afterStore?.();
    for (let i = 0; i < length; i++) this.responses[i] = responses[i];
    afterStore?.();
    Atomics.store(this.#words, COUNT, count);
    afterStore?.();
  }

  clear(): void {
    Atomics.store(this.#words, COUNT, 0);
  }
}
