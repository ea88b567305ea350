import type { RawGuest } from '../../worlds/model/raw-guest.js';
import type { FromBackend } from '../references/netfront.js';

/** Values of xen/io/netif.h and ring.h, as the guest reads them. */
const DATA_VALIDATED = 1;
const CSUM_BLANK = 2;
const MORE_DATA = 4;
const EXTRA_INFO = 8;
const EXTRA_TYPE_GSO = 1;
const EXTRA_FLAG_MORE = 1;
const PAGE_BYTES = 4096;
const RING_SLOTS = 256;
const HEADER_WORDS = 16;
const RSP_PROD = 2;

/** The receiving side of a guest: posts all pages, and takes whole frames out of them. */
export class Receiver {
  readonly #guest: RawGuest;
  /** Index in the ring of the next response to read. */
  #next: number;

  constructor(guest: RawGuest) {
    this.#guest = guest;
    this.#next = guest.rx[RSP_PROD];
    this.#post(RING_SLOTS);
  }

  /** @returns the frames whose last slot has come, and posts their buffers again. */
  take(): FromBackend[] {
    const frames: FromBackend[] = [];
    const begin = this.#next;
    const prod = this.#guest.rx[RSP_PROD];
    while (this.#next !== prod) {
      const frame = this.#frame(prod);
      if (frame === undefined) break;
      frames.push(frame);
    }
    this.#post((this.#next - begin) >>> 0);
    return frames;
  }

  #post(count: number): void {
    if (count === 0) return;
    const from = this.#guest.rx[REQ_PROD];
    // Slot n has page n, so that a response's index is that of its page.
    this.#guest.post(
      Array.from({ length: count }, (_, i) => this.#guest.ref(((from + i) >>> 0) % RING_SLOTS)),
    );
  }

  #frame(prod: number): FromBackend | undefined {
    let at = this.#next;
    const first = this.#response(at);
    const parts = [this.#data(at, first)];
    let [gso, segment] = [0, 0];
    at = (at + 1) >>> 0;
    for (let more = (first.flags & EXTRA_INFO) !== 0; more; at = (at + 1) >>> 0) {
      if (at === prod) return undefined;
      const [head, value] = this.#words(at);
      if ((head & 0xff) === EXTRA_TYPE_GSO) [gso, segment] = [(value & 0xff) === 1 ? 4 : 6, head >>> 16];
      more = ((head >>> 8) & EXTRA_FLAG_MORE) !== 0;
    }
    for (let flags = first.flags; (flags & MORE_DATA) !== 0; at = (at + 1) >>> 0) {
      if (at === prod) return undefined;
      const response = this.#response(at);
      parts.push(this.#data(at, response));
      flags = response.flags;
    }
    this.#next = at;
    return {
      bytes: new Uint8Array(Buffer.concat(parts)),
      csumBlank: (first.flags & CSUM_BLANK) !== 0,
      dataValidated: (first.flags & DATA_VALIDATED) !== 0,
      gso,
      segment,
      slots: parts.length,
    };
  }

  #words(index: number): [number, number] {
    const at = HEADER_WORDS + (index % RING_SLOTS) * 2;
    return [this.#guest.rx[at], this.#guest.rx[at + 1]];
  }

  #response(index: number): { offset: number; flags: number; status: number } {
    const [head, value] = this.#words(index);
    return { offset: head >>> 16, flags: value & 0xffff, status: value >> 16 };
  }

  #data(index: number, { offset, status }: { offset: number; status: number }): Uint8Array {
    const at = (index % RING_SLOTS) * PAGE_BYTES + offset;
    return this.#guest.pages.bytes.slice(at, at + Math.max(0, status));
  }
}

const REQ_PROD = 0;
