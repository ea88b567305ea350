/** Durable words as their readers see them: only `DurableWords` stores there. */
export interface ReadonlyWords {
  readonly [index: number]: number;
  readonly length: number;
}

/**
 * Words that outlive the process: every store to a journal is made here. A kill falls between two stores, and the process's stores reach
 * memory in their order, so the next process finds all of those before the kill and none after it. Each method names what a kill in its
 * middle leaves.
 *
 * `store` is a plain store: it is for words that do not count yet, or whose order among their neighbours does not matter. `commit` is the store
 * that makes others count: V8 moves no store across it.
 */
export class DurableWords {
  /** The words, to be read. */
  readonly view: ReadonlyWords;
  readonly #words: Uint32Array;
  readonly #afterStore: (() => void) | undefined;

  /** @param afterStore runs after each store: where a simulation kills. */
  constructor(words: Uint32Array, afterStore?: () => void) {
    this.view = words;
    this.#words = words;
    this.#afterStore = afterStore;
  }

  /** So many words that end with the process. The second one begins at a multiple of 8 bytes, for `commitPair`, as a Credit's does in a journal. */
  static ofProcess(words: number, afterStore?: () => void): DurableWords {
    return new DurableWords(new Uint32Array(words + 1).subarray(1), afterStore);
  }

  get length(): number {
    return this.#words.length;
  }

  /** The `count` words from `at` on. */
  part(at: number, count: number): DurableWords {
    return new DurableWords(this.#words.subarray(at, at + count), this.#afterStore);
  }

  /** The bytes of `count` words from `at` on, to be read. */
  bytes(at: number, count: number): Readonly<Uint8Array> {
    return new Uint8Array(this.#words.buffer, this.#words.byteOffset + at * 4, count * 4);
  }

  /** A kill leaves the old value or the new one. */
  store(at: number, value: number): void {
    this.#words[at] = value;
    if (this.#afterStore !== undefined) this.#afterStore();
  }

  /** As `store`; all stores before it are complete. */
  commit(at: number, value: number): void {
    Atomics.store(this.#words, at, value);
    if (this.#afterStore !== undefined) this.#afterStore();
  }

  /** Stores two words by one store of 8 bytes, little-endian: a kill leaves both old or both new. @param at where a multiple of 8 bytes is. */
  commitPair(at: number, low: number, high: number): void {
    const { buffer, byteOffset } = this.#words;
    const pair = new BigUint64Array(buffer, byteOffset + at * 4, 1);
    Atomics.store(pair, 0, (BigInt(high) << 32n) | BigInt(low));
    this.#afterStore?.();
  }

  /** Stores `count` words of `from` at `at`. A kill leaves the first of them new and the others old. */
  copy(at: number, from: ReadonlyWords, count: number): void {
    const words = this.#words;
    // A simulation is not told of each word: it kills at the first half, too.
    const half = this.#afterStore === undefined ? count : count >>> 1;
    for (let i = 0; i < half; i++) words[at + i] = from[i];
    if (this.#afterStore === undefined) return;
    this.#afterStore();
    for (let i = half; i < count; i++) words[at + i] = from[i];
    this.#afterStore();
  }

  /** As `copy`, from these words themselves. The two places do not overlap. */
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

  /** Stores 0 in words [at, end). A kill leaves the first of them 0. */
  clear(at = 0, end = this.length): void {
    const half = at + ((end - at) >>> 1);
    this.#words.fill(0, at, half);
    this.#afterStore?.();
    this.#words.fill(0, half, end);
    this.#afterStore?.();
  }
}
