/** Durable words for reading. Only `DurableWords` writes them. */
export interface ReadonlyWords {
  readonly [index: number]: number;
  readonly length: number;
}

/**
 * Words that outlive the process. This class makes every store to a journal. A kill falls between two stores, and the stores of a process
 * reach memory in program order, so the next process finds all stores before the kill and none after it. The comment of each method says
 * what a kill during the call leaves.
 *
 * `store` is a plain store. V8 keeps the order of plain stores (docs/journal.md, "The order of stores"), so `store` may also make earlier
 * ones valid where a call would cost too much. Elsewhere `commit` does that: it is a call, and V8 moves no store across one.
 */
export class DurableWords {
  /** The words, for reading. */
  readonly view: ReadonlyWords;
  readonly #words: Uint32Array;
  readonly #afterStore: (() => void) | undefined;

  /** @param afterStore runs after each store; a simulation kills the process there. */
  constructor(words: Uint32Array, afterStore?: () => void) {
    this.view = words;
    this.#words = words;
    this.#afterStore = afterStore;
  }

  /**
   * Returns words that end with the process. Word 1 is at a multiple of 8 bytes, as `commitPair` requires and as the words of a Credit are
   * in a journal.
   */
  static ofProcess(words: number, afterStore?: () => void): DurableWords {
    return new DurableWords(new Uint32Array(words + 1).subarray(1), afterStore);
  }

  get length(): number {
    return this.#words.length;
  }

  /** Returns the `count` words from `at` on. They share their memory with these words. */
  part(at: number, count: number): DurableWords {
    return new DurableWords(this.#words.subarray(at, at + count), this.#afterStore);
  }

  /**
   * Returns `count` words from `at` on for plain stores that are no steps of a simulation. Only for words that are not valid before a later
   * `store` or `commit`: the simulation sees them first at that one.
   */
  drafts(at: number, count: number): Uint32Array {
    return this.#words.subarray(at, at + count);
  }

  /** Returns the bytes of `count` words from `at` on, for reading. */
  bytes(at: number, count: number): Readonly<Uint8Array> {
    return new Uint8Array(this.#words.buffer, this.#words.byteOffset + at * 4, count * 4);
  }

  /** Stores one word. A kill leaves the old value or the new one, and all earlier stores. */
  store(at: number, value: number): void {
    this.#words[at] = value;
    if (this.#afterStore !== undefined) this.#afterStore();
  }

  /** As `store`, by `Atomics.store`. */
  commit(at: number, value: number): void {
    Atomics.store(this.#words, at, value);
    if (this.#afterStore !== undefined) this.#afterStore();
  }

  /**
   * Stores two words by one store of 8 bytes, little-endian: a kill leaves both old or both new.
   * @param at a word at a multiple of 8 bytes.
   */
  commitPair(at: number, low: number, high: number): void {
    const { buffer, byteOffset } = this.#words;
    const pair = new BigUint64Array(buffer, byteOffset + at * 4, 1);
    Atomics.store(pair, 0, (BigInt(high) << 32n) | BigInt(low));
    this.#afterStore?.();
  }

  /** Stores `count` words of `from` at `at`. A kill leaves some words at the beginning new and the others old. */
  copy(at: number, from: ReadonlyWords, count: number): void {
    const words = this.#words;
    // A simulation may kill after the first half and at the end, but not after each word.
    const half = this.#afterStore === undefined ? count : count >>> 1;
    for (let i = 0; i < half; i++) words[at + i] = from[i];
    if (this.#afterStore === undefined) return;
    this.#afterStore();
    for (let i = half; i < count; i++) words[at + i] = from[i];
    this.#afterStore();
  }

  /** As `copy`, with these words as the source. The two places must not overlap. */
  move(at: number, from: number, count: number): void {
    const half = count >>> 1;
    this.#words.copyWithin(at, from, from + half);
    this.#afterStore?.();
    this.#words.copyWithin(at + half, from + half, from + count);
    this.#afterStore?.();
  }

  /** As `copy`, for bytes. @param at in bytes. */
  copyBytes(at: number, from: ArrayLike<number>, count: number): void {
    const bytes = new Uint8Array(this.#words.buffer, this.#words.byteOffset, this.#words.byteLength);
    const half = count >>> 1;
    for (let i = 0; i < half; i++) bytes[at + i] = from[i];
    this.#afterStore?.();
    for (let i = half; i < count; i++) bytes[at + i] = from[i];
    this.#afterStore?.();
  }

  /** Stores 0 in words [at, end). A kill leaves some words at the beginning 0 and the others old. */
  clear(at = 0, end = this.length): void {
    const half = at + ((end - at) >>> 1);
    this.#words.fill(0, at, half);
    this.#afterStore?.();
    this.#words.fill(0, half, end);
    this.#afterStore?.();
  }
}
