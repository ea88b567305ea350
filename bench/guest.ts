import {
  EXTRA_TYPE_GSO,
  GSO_TYPE_NONE,
  RING_HEADER_WORDS,
  RING_PAGE_BYTES,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  RX_RING_SIZE,
  RX_SLOT_WORDS,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_DATA_VALIDATED,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
  TX_RING_SIZE,
  TX_SLOT_WORDS,
} from '../lib/protocol/netif.js';
import type { SharedPages, Shares } from '../lib/xen/seam.js';
import type { BenchFrame } from './frames.js';

/**
 * A guest that writes requests and does nothing else: neither it nor what it costs is measured. Slot i has a
 * page of its own, as a frontend's slots do.
 */
export class BenchGuest {
  readonly txRef: number;
  readonly rxRef: number;
  readonly #txRing: SharedPages;
  readonly #rxRing: SharedPages;
  readonly #txPages: SharedPages;
  readonly #rxPages: SharedPages;
  readonly txRefs: readonly number[];
  readonly rxRefs: readonly number[];
  #laidOut: BenchFrame | undefined;

  constructor(shares: Shares, backend: number) {
    this.#txRing = shares.allocate(1);
    this.#rxRing = shares.allocate(1);
    this.#txPages = shares.allocate(TX_RING_SIZE);
    this.#rxPages = shares.allocate(RX_RING_SIZE);
    this.txRef = this.#txRing.grant(0, backend, 'write');
    this.rxRef = this.#rxRing.grant(0, backend, 'write');
    this.txRefs = Array.from({ length: TX_RING_SIZE }, (_, i) => this.#txPages.grant(i, backend, 'read'));
    this.rxRefs = Array.from({ length: RX_RING_SIZE }, (_, i) => this.#rxPages.grant(i, backend, 'write'));
  }

  get txWords(): Uint32Array {
    return this.#txRing.u32;
  }

  get rxWords(): Uint32Array {
    return this.#rxRing.u32;
  }

  /** Whole frames of that kind that the TX ring holds. */
  static txFrames(frame: BenchFrame): number {
    return Math.floor(TX_RING_SIZE / frame.txSlots);
  }

  /** Fills the ring behind req_prod, which the one who is measured moves. Asks for an event at the last response. */
  fillTx(frame: BenchFrame): void {
    const words = this.txWords;
    const first = words[RING_REQ_PROD];
    const frames = BenchGuest.txFrames(frame);
    this.#layOut(frame);
    for (let i = 0; i < frames; i++) this.#writeTx(words, frame, first + i * frame.txSlots);
    words[RING_RSP_EVENT] = first + frames * frame.txSlots;
  }

  /** Posts buffers in all slots whose requests the backend has responded to. */
  fillRx(): void {
    const words = this.rxWords;
    const end = words[RING_RSP_PROD] + RX_RING_SIZE;
    for (let index = words[RING_REQ_PROD]; index !== end; index++) {
      const slot = index & (RX_RING_SIZE - 1);
      const at = RING_HEADER_WORDS + slot * RX_SLOT_WORDS;
      words[at] = slot;
      words[at + 1] = this.rxRefs[slot];
    }
    words[RING_RSP_EVENT] = end;
    words[RING_REQ_PROD] = end;
  }

  /** What a backend left behind: responses and, of the RX ring, payload. */
  evidence(): Uint8Array[] {
    const rings = [this.#txRing, this.#rxRing].map((ring) => ring.bytes.slice(64, RING_PAGE_BYTES));
    return [...rings, this.#rxPages.bytes.slice()];
  }

  /** Both rings as they are when a frontend has made them, at index 0; receive buffers that hold nothing. */
  reset(): void {
    for (const { bytes } of [this.#txRing, this.#rxRing, this.#rxPages]) bytes.fill(0);
  }

  /** Every page has the frame's first piece, so that it may begin in any slot; what follows the headers is filler. */
  #layOut(frame: BenchFrame): void {
    if (this.#laidOut === frame) return;
    this.#laidOut = frame;
    const { offset, length } = frame.pieces[0];
    const bytes = this.#txPages.bytes.fill(0x5a);
    for (let page = 0; page < bytes.length; page += RING_PAGE_BYTES) {
      bytes.set(frame.bytes.subarray(0, length), page + offset);
    }
  }

  #writeTx(words: Uint32Array, frame: BenchFrame, first: number): void {
    const extras = frame.gsoType === GSO_TYPE_NONE ? 0 : 1;
    const last = frame.pieces.length - 1;
    for (let piece = 0; piece <= last; piece++) {
      const slot = (first + piece + (piece === 0 ? 0 : extras)) & (TX_RING_SIZE - 1);
      const at = RING_HEADER_WORDS + slot * TX_SLOT_WORDS;
      const { offset, length } = frame.pieces[piece];
      let flags = piece < last ? TX_FLAG_MORE_DATA : 0;
      if (piece === 0) flags |= TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED;
      if (piece === 0 && extras > 0) flags |= TX_FLAG_EXTRA_INFO;
      words[at] = this.txRefs[slot];
      words[at + 1] = offset | (flags << 16);
      words[at + 2] = slot | ((piece === 0 ? frame.bytes.length : length) << 16);
    }
    if (extras === 0) return;
    const at = RING_HEADER_WORDS + ((first + 1) & (TX_RING_SIZE - 1)) * TX_SLOT_WORDS;
    words[at] = EXTRA_TYPE_GSO | (frame.gsoSize << 16);
    words[at + 1] = frame.gsoType;
  }
}
