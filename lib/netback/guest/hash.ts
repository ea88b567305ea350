import * as control from '../../protocol/control.js';
import { flowOf, hashOfFlow, NO_HASH } from '../../protocol/flow.js';
import { fillToeplitz, HASH_KEY_BYTES, TOEPLITZ_WORDS } from '../../protocol/toeplitz.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { HASH_ALGORITHM_NONE, HASH_ALGORITHM_TOEPLITZ, HASH_MAPPING_MAX, HASH_TYPES } = control;

// Layout in words: which of the two banks counts, then the banks: algorithm, flags, size of the mapping, key, and the
// mapping with a byte for each entry.
const SELECTED = 0;
const BANKS = 1;
const ALGORITHM = 0;
const FLAGS = 1;
const SIZE = 2;
const KEY = 3;
const MAPPING = KEY + HASH_KEY_BYTES / 4;
const BANK_WORDS = MAPPING + HASH_MAPPING_MAX / 4;
export const HASH_WORDS = BANKS + 2 * BANK_WORDS;

/** `queueOf`: the guest leaves the choice to us. */
export const ANY_QUEUE = -1;

/**
 * How a guest wants its frames hashed, and spread over its queues (netif.h, "Hash types" and "Control messages"). It lies in
 * the journal's memory: the kernel's driver forgets it when it is bound anew, and the guest is not told. A change is
 * written beside what counts, and one store makes it count: key and mapping are whole or not there.
 */
export class HashState {
  /** The hash that `look` found. */
  value = 0;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #queues: number;
  readonly #table = new Uint32Array(TOEPLITZ_WORDS);
  /** The table is not that of the key. */
  #stale = true;
  readonly #afterStore: (() => void) | undefined;

  /**
   * @param words HASH_WORDS of them. What stands there must be sound (`isSoundHash`).
   * @param queues that the guest has.
   * @param afterStore runs after each store that counts: where a simulation kills.
   */
  constructor(words: Uint32Array, queues: number, afterStore?: () => void) {
    this.#words = words;
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset, HASH_WORDS * 4);
    this.#queues = queues;
    this.#afterStore = afterStore;
  }

  /** The connection is served from its beginning: nothing is hashed. */
  begin(): void {
    this.#words.fill(0);
    this.#stale = true;
  }

  get algorithm(): number {
    return this.#words[this.#bank + ALGORITHM];
  }

  /** HASH_TYPE_* as bits. */
  get flags(): number {
    return this.#words[this.#bank + FLAGS];
  }

  /** Entries of the mapping; 0: queues are chosen by the remainder. */
  get mappingSize(): number {
    return this.#words[this.#bank + SIZE];
  }

  get mapping(): Uint8Array {
    const at = (this.#bank + MAPPING) * 4;
    return this.#bytes.slice(at, at + this.mappingSize);
  }

  get key(): Uint8Array {
    return this.#keyBytes.slice();
  }

  /** Frames are to be hashed. */
  get active(): boolean {
    const bank = this.#bank;
    return this.#words[bank + ALGORITHM] !== HASH_ALGORITHM_NONE && this.#words[bank + FLAGS] !== 0;
  }

  /** @returns false for one that we do not have; nothing has changed then, as in all that follow. */
  setAlgorithm(algorithm: number): boolean {
    if (algorithm !== HASH_ALGORITHM_NONE && algorithm !== HASH_ALGORITHM_TOEPLITZ) return false;
    this.#words[this.#draft() + ALGORITHM] = algorithm;
    this.#commit();
    return true;
  }

  setFlags(flags: number): boolean {
    if ((flags & ~HASH_TYPES) !== 0 || this.algorithm === HASH_ALGORITHM_NONE) return false;
    this.#words[this.#draft() + FLAGS] = flags;
    this.#commit();
    return true;
  }

  /** @param key its first `length` bytes count, at most HASH_KEY_BYTES; the others are 0. */
  setKey(key: Uint8Array, length: number): void {
    const at = (this.#draft() + KEY) * 4;
    for (let i = 0; i < HASH_KEY_BYTES; i++) this.#bytes[at + i] = i < length ? key[i] : 0;
    this.#commit();
    this.#stale = true;
  }

  /** A new mapping, all of the first queue. */
  setMappingSize(entries: number): boolean {
    if (entries > HASH_MAPPING_MAX) return false;
    const bank = this.#draft();
    this.#words[bank + SIZE] = entries;
    this.#words.fill(0, bank + MAPPING, bank + BANK_WORDS);
    this.#commit();
    return true;
  }

  /** Whether the mapping has entries [offset, offset + count). Both are the guest's, and may be any u32. */
  hasEntries(offset: number, count: number): boolean {
    return offset + count <= this.mappingSize;
  }

  /** @param queues of entries [offset, offset + count), which the mapping must have. */
  setMapping(queues: Uint32Array, offset: number, count: number): boolean {
    const at = (this.#draft() + MAPPING) * 4 + offset;
    for (let i = 0; i < count; i++) {
      if (queues[i] >= this.#queues) return false;
      this.#bytes[at + i] = queues[i];
    }
    this.#commit();
    return true;
  }

  /**
   * Hashes a frame, of which `length` bytes from `start` on can be read: the result is in `value`. Only while `active`.
   * @returns the HASH_TYPE_* that the guest asks for and the frame has, or 0; `value` is then 0 too.
   */
  look(bytes: Uint8Array, start: number, length: number): number {
    const flow = flowOf(bytes, start, length, this.flags);
    if (flow === NO_HASH) {
      this.value = 0;
      return 0;
    }
    if (this.#stale) this.#heedKey();
    this.value = hashOfFlow(this.#table, bytes, start, flow);
    return flow & HASH_TYPES;
  }

  /** @returns the queue that the guest wants frames of a hash in, or ANY_QUEUE. One without a hash is one of hash 0, as for Linux. */
  queueOf(value: number): number {
    if (!this.active) return ANY_QUEUE;
    const bank = this.#bank;
    const size = this.#words[bank + SIZE];
    if (size === 0) return value % this.#queues;
    return this.#bytes[(bank + MAPPING) * 4 + (value % size)];
  }

  get #bank(): number {
    return BANKS + this.#words[SELECTED] * BANK_WORDS;
  }

  get #keyBytes(): Uint8Array {
    const at = (this.#bank + KEY) * 4;
    return this.#bytes.subarray(at, at + HASH_KEY_BYTES);
  }

  /**
   * Fills the table; called when the first frame is hashed with the key. Filling takes 4 ms before V8 has compiled it and 14 µs after,
   * and a guest may send keys without end.
   */
  #heedKey(): void {
    fillToeplitz(this.#keyBytes, this.#table);
    this.#stale = false;
  }

  /** @returns the bank that does not count, as a copy of that which does. */
  #draft(): number {
    const now = this.#bank;
    const other = BANKS + (this.#words[SELECTED] ^ 1) * BANK_WORDS;
    this.#words.copyWithin(other, now, now + BANK_WORDS);
    this.#afterStore?.();
    return other;
  }

  #commit(): void {
    this.#afterStore?.();
    Atomics.xor(this.#words, SELECTED, 1);
    this.#afterStore?.();
  }
}

/** Whether what a journal has can be what a guest with so many queues set up. */
export function isSoundHash(words: Uint32Array, queues: number): boolean {
  if (words[SELECTED] > 1) return false;
  const bank = BANKS + words[SELECTED] * BANK_WORDS;
  const size = words[bank + SIZE];
  if (words[bank + ALGORITHM] > HASH_ALGORITHM_TOEPLITZ) return false;
  if ((words[bank + FLAGS] & ~HASH_TYPES) !== 0 || size > HASH_MAPPING_MAX) return false;
  const mapping = new Uint8Array(words.buffer, words.byteOffset + (bank + MAPPING) * 4, size);
  return mapping.every((queue) => queue < queues);
}
