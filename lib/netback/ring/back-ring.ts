import type { ReadonlyWords } from '../../durable/durable-words.js';
import * as redo from '../../durable/redo.js';
import * as netif from '../../protocol/netif.js';
import type { RingShape } from '../../protocol/ring.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { RING_HEADER_WORDS, RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } = netif;
const { NONE_KEPT } = redo;

/** The frontend's index claims more requests than the ring has slots: never act on it (XSA-39). */
export const RING_BROKEN = -1;

/** A ring's indices, as ring.h names them. `reqCons` is ours and in no page. */
export interface RingIndices {
  readonly reqProd: number;
  readonly reqCons: number;
  readonly rspProd: number;
  readonly reqEvent: number;
  readonly rspEvent: number;
  readonly size: number;
}

/**
 * The backend's end of a shared ring (xen/io/ring.h). All loads and stores of the shared page by the
 * backend are in this class. Indices are u32 and wrap; in here they are the same bits as int32, which the
 * engine keeps as small integers at every value. `Atomics` gives them the order that the C macros get from
 * barriers. Each request is copied once; nothing here trusts what it says.
 */
export class BackRing {
  readonly shape: RingShape;
  readonly #words: Int32Array;
  readonly #slots: Uint32Array;
  readonly #mask: number;
  #requestsTaken = 0;
  #requestsSeen = 0;
  #responsesPublished = 0;
  #kept = NONE_KEPT;
  readonly #log: redo.RedoLog | undefined;
  readonly #afterStore: (() => void) | undefined;

  /**
   * @param page the shared page, 4096 bytes.
   * @param log makes `publish` safe against a kill in its middle: it outlives the process.
   * @param afterStore runs after every store to the page: where a simulation kills.
   */
  constructor(page: Uint8Array, shape: RingShape, log?: redo.RedoLog, afterStore?: () => void) {
    this.shape = shape;
    this.#log = log;
    this.#afterStore = afterStore;
    this.#words = new Int32Array(page.buffer, page.byteOffset, page.byteLength >>> 2);
    this.#slots = new Uint32Array(
      page.buffer,
      page.byteOffset + RING_HEADER_WORDS * 4,
      shape.size * shape.slotWords,
    );
    this.#mask = shape.size - 1;
  }

  /** Requests copied so far, as a ring index: `req_cons`. */
  get requestsTaken(): number {
    return this.#requestsTaken >>> 0;
  }

  /** `rsp_prod` as we published it last. */
  get responsesPublished(): number {
    return this.#responsesPublished >>> 0;
  }

  /** `req_prod` as the last look at the ring found it. */
  get requestsSeen(): number {
    return this.#requestsSeen >>> 0;
  }

  /** As they stand in the page, for people: a guest may have written anything. */
  indices(): RingIndices {
    const at = (word: number) => Atomics.load(this.#words, word) >>> 0;
    return {
      reqProd: at(RING_REQ_PROD),
      reqCons: this.requestsTaken,
      rspProd: at(RING_RSP_PROD),
      reqEvent: at(RING_REQ_EVENT),
      rspEvent: at(RING_RSP_EVENT),
      size: this.shape.size,
    };
  }

  /** The first frame that an earlier life had taken and not passed on, as `attach` found it; or NONE_KEPT. */
  get kept(): number {
    return this.#kept;
  }

  /**
   * Goes on from `rsp_prod`, whatever the indices are: what stands between it and `req_prod` are exactly
   * the unanswered requests, since we answer in ring order. What an earlier life had committed to the log
   * and not published is published first.
   * @returns false when `req_prod - rsp_prod` exceeds the ring: such a page is not ours to serve.
   */
  attach(): boolean {
    this.#startAt(Atomics.load(this.#words, RING_RSP_PROD));
    if (this.waiting() === RING_BROKEN) return false;
    this.#redo();
    return this.waiting() !== RING_BROKEN;
  }

  #startAt(published: number): void {
    this.#responsesPublished = published;
    this.#requestsTaken = published;
    this.#requestsSeen = published;
  }

  /** Slots that the log's responses may have overwritten are no requests any more: they must not be read as such. */
  #redo(): void {
    const log = this.#log;
    if (log === undefined) return;
    const base = this.#responsesPublished;
    const count = log.committed(base, this.waiting());
    if (count > 0) {
      this.#answer(log.responses, count);
      this.#startAt((base + count) | 0);
    }
    this.#kept = log.kept(this.#responsesPublished);
    if (this.#kept === NONE_KEPT) log.clear();
    else log.settle();
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
    const { size, slotWords } = this.shape;
    const first = this.#requestsTaken & this.#mask;
    const straight = Math.min(count, size - first);
    copyWords(this.#slots, first * slotWords, into, 0, straight * slotWords);
    copyWords(this.#slots, 0, into, straight * slotWords, (count - straight) * slotWords);
  }

  /** Moves `req_cons` past requests that were copied. */
  take(count: number): void {
    this.#requestsTaken = (this.#requestsTaken + count) | 0;
  }

  /**
   * Writes responses into the slots that follow `rsp_prod`, then publishes them in one store. The caller
   * passes whole frames only, so that a kill leaves `rsp_prod` at a frame's boundary. With a log, a kill between
   * the first response and `rsp_prod` is mended by the next process: the log has all responses before the ring has any.
   * @param firstKept frames from it on are not passed on yet: should this life end, the next one finds them.
   * @returns whether the frontend asked to be notified.
   */
  publish(responses: Uint32Array, count: number, firstKept = NONE_KEPT): boolean {
    const log = this.#log;
    const old = this.#responsesPublished;
    if (log !== undefined) {
      log.commit(old, responses, count, firstKept);
      this.#answer(responses, count);
      log.settle();
    } else this.#answer(responses, count);
    const next = (old + count) | 0;
    this.#responsesPublished = next;
    const event = Atomics.load(this.#words, RING_RSP_EVENT);
    return (next - event) >>> 0 < (next - old) >>> 0;
  }

  /** As `publish` with no response: frames from `first` on are not passed on yet. */
  keep(first: number): void {
    this.#log?.keep(this.#responsesPublished, first);
  }

  /** All frames were passed on. */
  keepNone(): void {
    this.#log?.clear();
  }

  /** As `keepNone`, right after the port's `write`, and with no store to durable memory before the next look at the ring. */
  keepNoneAfterWrite(): void {
    this.#log?.clearBetweenCalls();
  }

  /** Writes the responses after those published, and stores `rsp_prod`. */
  #answer(responses: ReadonlyWords, count: number): void {
    const words = this.#words;
    const mask = this.#mask;
    const { slotWords, responseWords } = this.shape;
    const old = this.#responsesPublished;
    const afterStore = this.#afterStore;
    if (afterStore !== undefined) this.#answerByStep(responses, count, afterStore);
    else if (responseWords === 1) {
      for (let i = 0; i < count; i++)
        words[RING_HEADER_WORDS + ((old + i) & mask) * slotWords] = responses[i];
    } else {
      for (let i = 0; i < count; i++) {
        const to = RING_HEADER_WORDS + ((old + i) & mask) * slotWords;
        const from = i * responseWords;
        words[to] = responses[from];
        words[to + 1] = responses[from + 1];
        if (responseWords > 2) words[to + 2] = responses[from + 2];
      }
    }
    Atomics.store(words, RING_RSP_PROD, (old + count) | 0);
    if (afterStore !== undefined) afterStore();
  }

  /** Writes the responses word by word, for a simulation that kills after each. */
  #answerByStep(responses: ReadonlyWords, count: number, afterStore: () => void): void {
    const words = this.#words;
    const { slotWords, responseWords } = this.shape;
    for (let i = 0; i < count; i++) {
      const to = RING_HEADER_WORDS + ((this.#responsesPublished + i) & this.#mask) * slotWords;
      for (let word = 0; word < responseWords; word++) {
        words[to + word] = responses[i * responseWords + word];
        afterStore();
      }
    }
  }

  /**
   * Asks for an event at the next request after those seen, and looks once more: a request that came in
   * between would otherwise wait for ever (RING_FINAL_CHECK_FOR_REQUESTS).
   * @returns whether requests came meanwhile (or the ring broke): look again.
   */
  arm(): boolean {
    const seen = this.#requestsSeen;
    Atomics.store(this.#words, RING_REQ_EVENT, (seen + 1) | 0);
    this.#afterStore?.();
    return Atomics.load(this.#words, RING_REQ_PROD) !== seen;
  }
}

/** Fewer words are copied faster by a loop than by a call that makes a view for it (measured: 100 ns). */
const LOOP_WORDS_MAX = 48;

function copyWords(from: Uint32Array, start: number, into: Uint32Array, at: number, count: number): void {
  if (count > LOOP_WORDS_MAX) into.set(from.subarray(start, start + count), at);
  else for (let i = 0; i < count; i++) into[at + i] = from[start + i];
}
