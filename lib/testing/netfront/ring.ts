import {
  RING_HEADER_WORDS,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
} from '../../protocol/netif.js';
import type { SharedPages } from '../../xen/seam.js';

export interface FrontRingOptions {
  readonly page: SharedPages;
  /** A power of two. */
  readonly size: number;
  readonly slotWords: number;
  /** Both producers start here. Linux starts at 0; tests start shortly before the indices wrap. */
  readonly start?: number;
}

/** Result of `responses()` for an impossible `rsp_prod`. */
export const RESPONSES_IMPOSSIBLE = -1;

/**
 * The frontend's end of a shared ring (xen/io/ring.h). Shares no code with the backend's end, so that a mistake in
 * one shows in the other. Indices are u32 and wrap.
 */
export class FrontRing {
  readonly size: number;
  readonly #page: SharedPages;
  readonly #slotWords: number;
  readonly #mask: number;
  #words: Uint32Array;
  /** The value of `req_prod` in the page. */
  #published: number;
  /** Requests written, published or not: `req_prod_pvt`. */
  #produced: number;
  /** Responses taken: `rsp_cons`. */
  #consumed: number;
  #complained = -1;

  /** Prepares the page as SHARED_RING_INIT does: both events at the first response or request. */
  constructor(options: FrontRingOptions) {
    const start = (options.start ?? 0) >>> 0;
    this.size = options.size;
    this.#page = options.page;
    this.#slotWords = options.slotWords;
    this.#mask = options.size - 1;
    this.#words = options.page.u32;
    this.#published = start;
    this.#produced = start;
    this.#consumed = start;
    this.#words.fill(0);
    Atomics.store(this.#words, RING_REQ_PROD, start);
    Atomics.store(this.#words, RING_RSP_PROD, start);
    Atomics.store(this.#words, RING_REQ_EVENT, (start + 1) >>> 0);
    Atomics.store(this.#words, RING_RSP_EVENT, (start + 1) >>> 0);
  }

  /** Call it first after each await: the model moves memory that the peer has unmapped. */
  refresh(): void {
    this.#words = this.#page.u32;
  }

  /** The page's words. Valid until the next await. */
  get words(): Uint32Array {
    return this.#words;
  }

  get produced(): number {
    return this.#produced;
  }

  get consumed(): number {
    return this.#consumed;
  }

  /** Slots that neither a request without a response nor a response not yet taken occupies. */
  get free(): number {
    return this.size - ((this.#produced - this.#consumed) >>> 0);
  }

  /** Requests that were published and whose responses were not yet taken. */
  get outstanding(): number {
    return (this.#published - this.#consumed) >>> 0;
  }

  slot(index: number): number {
    return index & this.#mask;
  }

  /** First word of the slot of a ring index. */
  at(index: number): number {
    return RING_HEADER_WORDS + (index & this.#mask) * this.#slotWords;
  }

  /** Reserves the next request. @returns its ring index. */
  produce(): number {
    const index = this.#produced;
    this.#produced = (index + 1) >>> 0;
    return index;
  }

  /** Publishes what was produced (RING_PUSH_REQUESTS_AND_CHECK_NOTIFY). @returns whether the backend asked for an event. */
  push(): boolean {
    const old = this.#published;
    const next = this.#produced;
    if (old === next) return false;
    Atomics.store(this.#words, RING_REQ_PROD, next);
    this.#published = next;
    const event = Atomics.load(this.#words, RING_REQ_EVENT);
    return (next - event) >>> 0 < (next - old) >>> 0;
  }

  /** `rsp_prod` as the backend last stored it. */
  responsesProduced(): number {
    return Atomics.load(this.#words, RING_RSP_PROD);
  }

  /** @returns how many responses wait, or RESPONSES_IMPOSSIBLE if there are more responses than requests. */
  responses(): number {
    const waiting = (this.responsesProduced() - this.#consumed) >>> 0;
    return waiting > this.outstanding ? RESPONSES_IMPOSSIBLE : waiting;
  }

  /** Returns what is wrong with `rsp_prod`; undefined if that was reported before. */
  complaint(): string | undefined {
    const produced = this.responsesProduced();
    if (produced === this.#complained) return undefined;
    this.#complained = produced;
    return `rsp_prod ${produced}, taken ${this.#consumed}, ${this.outstanding} without a response`;
  }

  consume(responses: number): void {
    this.#consumed = (this.#consumed + responses) >>> 0;
  }

  /**
   * Asks for an event at the next response, and checks the ring once more: a response that came in between would otherwise wait for ever
   * (RING_FINAL_CHECK_FOR_RESPONSES). @returns whether responses wait.
   */
  arm(): boolean {
    Atomics.store(this.#words, RING_RSP_EVENT, (this.#consumed + 1) >>> 0);
    return this.responsesProduced() !== this.#consumed;
  }

  /** Whether the indices that only the frontend writes are unchanged. */
  intact(): boolean {
    return Atomics.load(this.#words, RING_REQ_PROD) === this.#published;
  }
}
