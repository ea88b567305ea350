import type { DurableWords, ReadonlyWords } from '../../durable/durable-words.js';
import { MULTICAST } from '../../durable/layout.js';
import { FRAME_LENGTH, FRAME_OFFSET, type FrameBatch, frameAt } from '../../ports/frame-batch.js';
import type { FlowCounters } from '../frames/counters.js';

/** The most addresses of a list, as in Linux's netback (common.h, XEN_NETBK_MCAST_MAX). */
export const MULTICAST_MAX = 64;

const { taken: TAKEN, whole: WHOLE, addresses: ADDRESSES } = MULTICAST.at;

/**
 * The multicast addresses whose frames a guest wants, which it has sent as extra info (netif.h, "multicast control"). They
 * are in the journal's memory, because with control requested an empty list loses all multicast (the kernel's driver loses its list when
 * it is bound again). Each change stores the address first, and then the bits of `taken` by one store.
 */
export class MulticastFilter {
  /** Whether the guest asks for filtering (`request-multicast-control`). */
  requested = false;
  readonly #words: DurableWords;
  readonly #view: ReadonlyWords;

  /** @param words the words of a MULTICAST; any content is valid. */
  constructor(words: DurableWords) {
    this.#words = words;
    this.#view = words.view;
  }

  /** Starts an empty list for a new connection. The list is complete, because no earlier backend has received addresses. */
  begin(): void {
    this.#words.clear();
    this.#words.commit(WHOLE, 1);
  }

  /** Whether to filter frames. vifd does not filter if another backend, without this journal, has received a part of the list. */
  get active(): boolean {
    return this.requested && this.#view[WHOLE] === 1;
  }

  get size(): number {
    let size = 0;
    for (let place = 0; place < MULTICAST_MAX; place++) if (this.#isTaken(place)) size++;
    return size;
  }

  /** Returns the addresses as text, `01:00:5e:00:00:fb`. */
  addresses(): string[] {
    const addresses: string[] = [];
    for (let place = 0; place < MULTICAST_MAX; place++) {
      if (!this.#isTaken(place)) continue;
      const at = ADDRESSES + place * 2;
      const bytes = new Uint8Array(Uint32Array.of(this.#view[at], this.#view[at + 1]).buffer);
      const six = [bytes[0], bytes[1], ...bytes.subarray(4)];
      addresses.push(six.map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
    }
    return addresses;
  }

  /**
   * @param high the first two bytes of the address, and `low` the other four, both little-endian.
   * @returns false if the list is full.
   */
  add(high: number, low: number): boolean {
    if (this.#find(high, low) >= 0) return true;
    for (let place = 0; place < MULTICAST_MAX; place++) {
      if (this.#isTaken(place)) continue;
      this.#words.store(ADDRESSES + place * 2, high);
      this.#words.store(ADDRESSES + place * 2 + 1, low);
      this.#setTaken(place, true);
      return true;
    }
    return false;
  }

  /** Removes an address. As in Linux, a missing address is not an error. */
  remove(high: number, low: number): void {
    const place = this.#find(high, low);
    if (place >= 0) this.#setTaken(place, false);
  }

  /** Removes frames that the guest does not want from a batch, by making their length 0. */
  run(frames: FrameBatch, counters: FlowCounters): void {
    const { block, count, arena } = frames;
    for (let i = 0; i < count; i++) {
      const at = frameAt(i);
      if (block[at + FRAME_LENGTH] === 0 || this.#wants(arena.bytes, block[at + FRAME_OFFSET])) continue;
      block[at + FRAME_LENGTH] = 0;
      counters.filtered++;
    }
  }

  /** Whether the guest wants a frame, which begins at `at` with the destination address. It always wants unicast and broadcast. */
  #wants(bytes: Uint8Array, at: number): boolean {
    if ((bytes[at] & 1) === 0) return true;
    const high = bytes[at] | (bytes[at + 1] << 8);
    const low = (bytes[at + 2] | (bytes[at + 3] << 8) | (bytes[at + 4] << 16) | (bytes[at + 5] << 24)) >>> 0;
    return (high === 0xffff && low === 0xffffffff) || this.#find(high, low) >= 0;
  }

  #find(high: number, low: number): number {
    for (let place = 0; place < MULTICAST_MAX; place++) {
      const at = ADDRESSES + place * 2;
      if (this.#view[at + 1] === low && this.#view[at] === high && this.#isTaken(place)) return place;
    }
    return -1;
  }

  #setTaken(place: number, taken: boolean): void {
    const word = TAKEN + (place >>> 5);
    const bit = 1 << (place & 31);
    this.#words.commit(word, taken ? this.#view[word] | bit : this.#view[word] & ~bit);
  }

  #isTaken(place: number): boolean {
    return (this.#view[TAKEN + (place >>> 5)] & (1 << (place & 31))) !== 0;
  }
}
