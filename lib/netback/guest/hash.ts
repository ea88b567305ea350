import { Banks } from '../../durable/banks.js';
import type { DurableWords, ReadonlyWords } from '../../durable/durable-words.js';
import { HASH, HASH_BANKS } from '../../durable/layout.js';
import * as control from '../../protocol/control.js';
import { flowOf, hashOfFlow, NO_HASH } from '../../protocol/flow.js';
import { fillToeplitz, HASH_KEY_BYTES, TOEPLITZ_WORDS } from '../../protocol/toeplitz.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { HASH_ALGORITHM_NONE, HASH_ALGORITHM_TOEPLITZ, HASH_MAPPING_MAX, HASH_TYPES } = control;

const { algorithm: ALGORITHM, flags: FLAGS, size: SIZE, key: KEY, mapping: MAPPING } = HASH.at;
const BANKS = { first: HASH_BANKS.at.banks, bankWords: HASH.words, bit: 0 };

/** The result of `queueOf` if the guest leaves the choice to vifd. */
export const ANY_QUEUE = -1;

/**
 * How a guest wants its frames hashed, and spread over its queues (netif.h, "Hash types" and "Control messages"). The state is in
 * the journal's memory, because the guest sends it once and gets no notice of a new backend (the kernel's driver loses it when it is bound
 * again). A change is written into the other bank, and one store makes that bank valid, so key and mapping are always complete.
 */
export class HashState {
  /** Whether the guest wants frames hashed. A field, since each batch reads it. */
  active = false;
  /** The hash of the last `look`. */
  value = 0;
  readonly #words: DurableWords;
  readonly #view: ReadonlyWords;
  readonly #bytes: Readonly<Uint8Array>;
  readonly #banks: Banks;
  readonly #queues: number;
  readonly #table = new Uint32Array(TOEPLITZ_WORDS);
  /** Whether the table belongs to an earlier key. */
  #stale = true;

  /**
   * @param words the words of a HASH_BANKS. Their content must be sound (`isSoundHash`).
   * @param queues how many queues the guest has.
   */
  constructor(words: DurableWords, queues: number) {
    this.#words = words;
    this.#view = words.view;
    this.#bytes = words.bytes(0, words.length);
    this.#banks = new Banks(words, BANKS);
    this.#queues = queues;
    this.#note();
  }

  /** Clears the state for a new connection, which starts without hashing. */
  begin(): void {
    this.#words.clear();
    this.#stale = true;
    this.#note();
  }

  get algorithm(): number {
    return this.#view[this.#banks.current + ALGORITHM];
  }

  /** The hash types that the guest has set, HASH_TYPE_* as bits. */
  get flags(): number {
    return this.#view[this.#banks.current + FLAGS];
  }

  /** The number of entries of the mapping; at 0 the remainder of the hash chooses the queue. */
  get mappingSize(): number {
    return this.#view[this.#banks.current + SIZE];
  }

  get mapping(): Uint8Array {
    const at = (this.#banks.current + MAPPING) * 4;
    return this.#bytes.slice(at, at + this.mappingSize);
  }

  get key(): Uint8Array {
    return this.#keyBytes.slice();
  }

  /** @returns false for an unknown algorithm. This setter and those below change nothing when they return false. */
  setAlgorithm(algorithm: number): boolean {
    if (algorithm !== HASH_ALGORITHM_NONE && algorithm !== HASH_ALGORITHM_TOEPLITZ) return false;
    this.#words.store(this.#banks.draft() + ALGORITHM, algorithm);
    this.#commit();
    return true;
  }

  setFlags(flags: number): boolean {
    if ((flags & ~HASH_TYPES) !== 0 || this.algorithm === HASH_ALGORITHM_NONE) return false;
    this.#words.store(this.#banks.draft() + FLAGS, flags);
    this.#commit();
    return true;
  }

  /** @param key its first `length` bytes (at most HASH_KEY_BYTES) become the key; the rest of the key is 0. */
  setKey(key: Uint8Array, length: number): void {
    const padded = new Uint8Array(HASH_KEY_BYTES);
    padded.set(key.subarray(0, length));
    this.#words.copyBytes((this.#banks.draft() + KEY) * 4, padded, HASH_KEY_BYTES);
    this.#commit();
    this.#stale = true;
  }

  /** Starts a new mapping, in which every entry is queue 0. */
  setMappingSize(entries: number): boolean {
    if (entries > HASH_MAPPING_MAX) return false;
    const bank = this.#banks.draft();
    this.#words.store(bank + SIZE, entries);
    this.#words.clear(bank + MAPPING, bank + HASH.words);
    this.#commit();
    return true;
  }

  /** Whether the mapping has entries [offset, offset + count). Both are the guest's, and may be any u32. */
  hasEntries(offset: number, count: number): boolean {
    return offset + count <= this.mappingSize;
  }

  /** @param queues for the entries [offset, offset + count), which the mapping must have. */
  setMapping(queues: Uint32Array, offset: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (queues[i] >= this.#queues) return false;
    this.#words.copyBytes((this.#banks.draft() + MAPPING) * 4 + offset, queues, count);
    this.#commit();
    return true;
  }

  /**
   * Hashes a frame, of which `length` bytes from `start` on can be read, into `value`. Call it only while `active`.
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

  /**
   * @returns the queue that the guest wants for frames of a hash, or ANY_QUEUE. A frame without a hash counts as one of hash 0, as in
   *   Linux.
   */
  queueOf(value: number): number {
    if (!this.active) return ANY_QUEUE;
    const bank = this.#banks.current;
    const size = this.#view[bank + SIZE];
    if (size === 0) return value % this.#queues;
    return this.#bytes[(bank + MAPPING) * 4 + (value % size)];
  }

  #commit(): void {
    this.#banks.commit();
    this.#note();
  }

  #note(): void {
    this.active = this.algorithm !== HASH_ALGORITHM_NONE && this.flags !== 0;
  }

  get #keyBytes(): Readonly<Uint8Array> {
    const at = (this.#banks.current + KEY) * 4;
    return this.#bytes.subarray(at, at + HASH_KEY_BYTES);
  }

  /**
   * Fills the table for the key, before the first frame that is hashed with it. Filling takes 4 ms before V8 has compiled the code and 14 µs
   * after, and a guest may send any number of keys.
   */
  #heedKey(): void {
    fillToeplitz(this.#keyBytes, this.#table);
    this.#stale = false;
  }
}

/** Whether the journal's words can be the hash state of a guest with so many queues. */
export function isSoundHash(words: DurableWords, queues: number): boolean {
  const { view } = words;
  if (view[0] > 1) return false;
  const bank = new Banks(words, BANKS).current;
  const size = view[bank + SIZE];
  if (view[bank + ALGORITHM] > HASH_ALGORITHM_TOEPLITZ) return false;
  if ((view[bank + FLAGS] & ~HASH_TYPES) !== 0 || size > HASH_MAPPING_MAX) return false;
  const mapping = words.bytes(bank + MAPPING, HASH.words - MAPPING);
  return mapping.subarray(0, size).every((queue) => queue < queues);
}
