import {
  RING_HEADER_WORDS,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  RX_RING_SIZE,
  RX_SLOT_WORDS,
  TX_RING_SIZE,
  TX_SLOT_WORDS,
} from './netif.js';

/** What differs between the rings of netif. `size` is a power of two. */
export interface RingShape {
  readonly size: number;
  /** Words of a slot: of the larger of request and response. */
  readonly slotWords: number;
  readonly requestWords: number;
  readonly responseWords: number;
}

export const TX_RING: RingShape = {
  size: TX_RING_SIZE,
  slotWords: TX_SLOT_WORDS,
  requestWords: 3,
  responseWords: 1,
};
export const RX_RING: RingShape = {
  size: RX_RING_SIZE,
  slotWords: RX_SLOT_WORDS,
  requestWords: 2,
  responseWords: 2,
};

/** The frontend's index claims more requests than the ring has slots: never act on it (XSA-39). */
export const RING_BROKEN = -1;

/**
 * The backend's end of a shared ring (xen/io/ring.h). All loads and stores of the shared page by the
 * backend are in this class. Indices are u32 and wrap; `Atomics` gives them the order that the C macros
 * get from barriers. Each request is copied once; nothing here trusts what it says.
 */
export class BackRing {
  readonly shape: RingShape;
  readonly #words: Uint32Array;
  readonly #mask: number;
  #requestsTaken = 0;
  #requestsSeen = 0;
  #responsesPublished = 0;

  /** @param page the shared page, 4096 bytes. */
  constructor(page: Uint8Array, shape: RingShape) {
    this.shape = shape;
    this.#words = new Uint32Array(page.buffer, page.byteOffset, page.byteLength >>> 2);
    this.#mask = shape.size - 1;
  }

  /** Requests copied so far, as a ring index: `req_cons`. */
  get requestsTaken(): number {
    return this.#requestsTaken;
  }

  /** `rsp_prod` as we published it last. */
  get responsesPublished(): number {
    return this.#responsesPublished;
  }

  /** `req_prod` as the last look at the ring found it. */
  get requestsSeen(): number {
    return this.#requestsSeen;
  }

  /**
   * Goes on from `rsp_prod`, whatever the indices are: what stands between it and `req_prod` are exactly
   * the unanswered requests, since we answer in ring order.
   * @returns false when `req_prod - rsp_prod` exceeds the ring: such a page is not ours to serve.
   */
  attach(): boolean {
    const published = Atomics.load(this.#words, RING_RSP_PROD);
    this.#responsesPublished = published;
    this.#requestsTaken = published;
    this.#requestsSeen = published;
    return this.waiting() !== RING_BROKEN;
  }

  /** @returns requests not yet taken, or RING_BROKEN. */
  waiting(): number {
    const produced = Atomics.load(this.#words, RING_REQ_PROD);
    if ((produced - this.#responsesPublished) >>> 0 > this.shape.size) return RING_BROKEN;
    // Between attach and here req_prod may not run backwards past what we took.
    const waiting = (produced - this.#requestsTaken) >>> 0;
    if (waiting > this.shape.size) return RING_BROKEN;
    this.#requestsSeen = produced;
    return waiting;
  }

  /** Copies the next `count` requests (not more than `waiting()` said) into private memory, each word once. */
  copy(count: number, into: Uint32Array): void {
    const words = this.#words;
    const mask = this.#mask;
    const { slotWords, requestWords } = this.shape;
    const first = this.#requestsTaken;
    let to = 0;
    for (let i = 0; i < count; i++) {
      const from = RING_HEADER_WORDS + ((first + i) & mask) * slotWords;
      for (let word = 0; word < requestWords; word++) into[to++] = words[from + word];
    }
  }

  /** Moves `req_cons` past requests that were copied. */
  take(count: number): void {
    this.#requestsTaken = (this.#requestsTaken + count) >>> 0;
  }

  /**
   * Writes responses into the slots that follow `rsp_prod`, then publishes them in one store. The caller
   * passes whole frames only, so that a kill leaves `rsp_prod` at a frame's boundary.
   * @returns whether the frontend asked to be notified.
   */
  publish(responses: Uint32Array, count: number): boolean {
    const words = this.#words;
    const mask = this.#mask;
    const { slotWords, responseWords } = this.shape;
    const old = this.#responsesPublished;
    let from = 0;
    for (let i = 0; i < count; i++) {
      const to = RING_HEADER_WORDS + ((old + i) & mask) * slotWords;
      for (let word = 0; word < responseWords; word++) words[to + word] = responses[from++];
    }
    const next = (old + count) >>> 0;
    Atomics.store(words, RING_RSP_PROD, next);
    this.#responsesPublished = next;
    const event = Atomics.load(words, RING_RSP_EVENT);
    return (next - event) >>> 0 < (next - old) >>> 0;
  }

  /**
   * Asks for an event at the next request after those seen, and looks once more: a request that came in
   * between would otherwise wait for ever (RING_FINAL_CHECK_FOR_REQUESTS).
   * @returns whether requests came meanwhile (or the ring broke): look again.
   */
  arm(): boolean {
    const seen = this.#requestsSeen;
    Atomics.store(this.#words, RING_REQ_EVENT, (seen + 1) >>> 0);
    return Atomics.load(this.#words, RING_REQ_PROD) !== seen;
  }
}
