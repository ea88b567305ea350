import type { ReadonlyWords } from '../../durable/durable-words.js';
import * as redo from '../../durable/redo.js';
import * as netif from '../../protocol/netif.js';
import type { RingShape } from '../../protocol/ring.js';

// A module's own constants are part of the compiled code; what it imports or exports is loaded and checked at each use.
const { RING_HEADER_WORDS, RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } = netif;
const { NONE_PENDING } = redo;

/** The frontend's index claims more requests than the ring has slots: never act on it (XSA-39). */
export const RING_BROKEN = -1;
const BROKEN = RING_BROKEN;

/** A ring's indices, as ring.h names them. `reqCons` is private to the backend; the others are in the shared page. */
export interface RingIndices {
  /** Requests that the guest has made. */
  readonly reqProd: number;
  /** Requests that the backend has read. */
  readonly reqCons: number;
  /** Responses that the backend has made. */
  readonly rspProd: number;
  /** The backend wants an event when `reqProd` reaches this index. */
  readonly reqEvent: number;
  /** The guest wants an event when `rspProd` reaches this index. */
  readonly rspEvent: number;
  /** How many slots the ring has; a power of two. */
  readonly size: number;
}

/**
 * The backend's end of a shared ring (xen/io/ring.h). This class makes all of the backend's stores in the shared page, and all loads but those of
 * plain and usual batches, which their loops read in `slots`. Indices are u32 and wrap; this class stores the same bits as int32, which V8 represents as small integers
 * at every value. `Atomics` gives them the order that the C macros get from barriers. Each word of a request is read
 * once, and no content is trusted.
 */
export class BackRing {
  readonly shape: RingShape;
  /** Where a caller best prepares responses for `publish`: the log's own words, if there is a log. */
  readonly responses: Uint32Array;
  /**
   * The slots in the shared page, for a caller that copies each word as it reads it, and reads it once. The requests that vifd has not taken
   * begin at word `nextWord`.
   */
  readonly slots: Uint32Array;
  readonly #words: Int32Array;
  /** For `#firstResponses`, by number of responses; made when first used. */
  readonly #views: Uint32Array[] = [];
  readonly #mask: number;
  #requestsTaken = 0;
  #requestsSeen = 0;
  #responsesPublished = 0;
  #firstPending = NONE_PENDING;
  readonly #log: redo.RedoLog | undefined;
  readonly #afterStore: (() => void) | undefined;

  /**
   * @param page the shared page, 4096 bytes.
   * @param log outlives the process, and makes `publish` safe against a kill during the call.
   * @param afterStore runs after every store to the page; a simulation kills the process there.
   */
  constructor(page: Uint8Array, shape: RingShape, log?: redo.RedoLog, afterStore?: () => void) {
    this.shape = shape;
    this.#log = log;
    this.responses = log?.responses ?? new Uint32Array(shape.size * shape.responseWords);
    this.#afterStore = afterStore;
    this.#words = new Int32Array(page.buffer, page.byteOffset, page.byteLength >>> 2);
    this.slots = new Uint32Array(
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

  /** `rsp_prod` as this backend published it last. */
  get responsesPublished(): number {
    return this.#responsesPublished >>> 0;
  }

  /** `req_prod` as the last call of `waiting` read it. */
  get requestsSeen(): number {
    return this.#requestsSeen >>> 0;
  }

  /** Returns the indices as they are in the page, for display only: a guest may have written any value. */
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

  /** The first frame that the previous process left pending, as `attach` found it; or NONE_PENDING. */
  get firstPending(): number {
    return this.#firstPending;
  }

  /**
   * Resumes the ring at `rsp_prod`, whatever the indices are. The requests between `rsp_prod` and `req_prod` are exactly
   * those without a response, because vifd responds in ring order. First it publishes the responses that the previous process
   * had committed to the log and not published.
   * @returns false if `req_prod - rsp_prod` exceeds the ring: vifd cannot serve such a page.
   */
  attach(): boolean {
    this.#startAt(Atomics.load(this.#words, RING_RSP_PROD));
    if (this.waiting() === RING_BROKEN) return false;
    this.#replay();
    return this.waiting() !== RING_BROKEN;
  }

  #startAt(published: number): void {
    this.#responsesPublished = published;
    this.#requestsTaken = published;
    this.#requestsSeen = published;
  }

  /**
   * Publishes the committed responses of the log. They may have overwritten their requests in part, so those slots must not be read as
   * requests.
   */
  #replay(): void {
    const log = this.#log;
    if (log === undefined) return;
    const base = this.#responsesPublished;
    const count = log.committed(base, this.waiting());
    if (count > 0) {
      this.#respond(log.responses, count);
      this.#startAt((base + count) | 0);
    }
    this.#firstPending = log.pendingAt(this.#responsesPublished);
    if (this.#firstPending === NONE_PENDING) log.clear();
    else log.settle();
  }

  /** @returns requests not yet taken, or RING_BROKEN. */
  waiting(): number {
    const produced = Atomics.load(this.#words, RING_REQ_PROD);
    if ((produced - this.#responsesPublished) >>> 0 > this.shape.size) return BROKEN;
    // A guest must not move req_prod back behind requests that vifd has taken.
    const waiting = (produced - this.#requestsTaken) >>> 0;
    if (waiting > this.shape.size) return BROKEN;
    this.#requestsSeen = produced;
    return waiting;
  }

  /** The word of `slots` at which the next request begins that was not taken. */
  get nextWord(): number {
    return (this.#requestsTaken & this.#mask) * this.shape.slotWords;
  }

  /** Copies the next `count` requests into private memory, each word once. @param count at most what `waiting()` returned. */
  copy(count: number, into: Uint32Array): void {
    const { size, slotWords } = this.shape;
    const first = this.#requestsTaken & this.#mask;
    const straight = Math.min(count, size - first);
    copyWords(this.slots, first * slotWords, into, 0, straight * slotWords);
    copyWords(this.slots, 0, into, straight * slotWords, (count - straight) * slotWords);
  }

  /** Whether vifd has taken all requests that `waiting` saw last. */
  get isEmpty(): boolean {
    return this.#requestsTaken === this.#requestsSeen;
  }

  /** Moves `req_cons` past requests that were copied. */
  take(count: number): void {
    this.#requestsTaken = (this.#requestsTaken + count) | 0;
  }

  /**
   * Writes responses into the slots that follow `rsp_prod`, then publishes them by one store. The caller best prepared them in `responses`, and
   * passes the responses of whole frames only, so that a kill leaves `rsp_prod` between two frames. If there is a log, it gets all responses
   * before the ring gets the first one. After a kill between that one and the store of `rsp_prod`, the next process publishes the log's responses.
   * @param firstPending the first frame that is still pending; after a kill the next process passes it and those behind it on.
   * @returns whether the frontend asked to be notified.
   */
  publish(responses: Uint32Array, count: number, firstPending = NONE_PENDING): boolean {
    const log = this.#log;
    const old = this.#responsesPublished;
    if (log !== undefined) {
      log.commit(old, responses, count, firstPending);
      this.#respond(responses, count);
      log.settle();
    } else this.#respond(responses, count);
    const next = (old + count) | 0;
    this.#responsesPublished = next;
    const event = Atomics.load(this.#words, RING_RSP_EVENT);
    return (next - event) >>> 0 < (next - old) >>> 0;
  }

  /** Records in the log, as `publish` with no response does, that frames from `first` on are pending. */
  setPending(first: number): void {
    this.#log?.setPending(this.#responsesPublished, first);
  }

  /** Records in the log that no frame is pending. */
  clearPending(): void {
    this.#log?.clear();
  }

  /**
   * Writes responses behind those that are published, and stores `rsp_prod`. Where so many fit before the ring's end, it writes four in a turn
   * of the loop, since V8 checks both arrays anew in each turn, which takes as long as the rest.
   */
  #respond(responses: ReadonlyWords, count: number): void {
    const words = this.#words;
    const { size, slotWords, responseWords } = this.shape;
    const old = this.#responsesPublished;
    const afterStore = this.#afterStore;
    const end = RING_HEADER_WORDS + size * slotWords;
    let to = RING_HEADER_WORDS + (old & this.#mask) * slotWords;
    if (afterStore !== undefined || responseWords > 2) this.#respondByWord(responses, count);
    else if (responseWords === 1) {
      for (let from = 0; from < count; ) {
        words[to] = responses[from];
        if (count - from >= 4 && end - to > 4 * slotWords) {
          words[to + slotWords] = responses[from + 1];
          words[to + 2 * slotWords] = responses[from + 2];
          words[to + 3 * slotWords] = responses[from + 3];
          from += 4;
          to += 4 * slotWords;
        } else {
          from++;
          to += slotWords;
          if (to === end) to = RING_HEADER_WORDS;
        }
      }
    } else {
      let done = 0;
      const straight = Math.min(count, (end - to) >> 1);
      if (straight >= SET_MIN && responses === this.responses) {
        this.slots.set(this.#firstResponses(straight), to - RING_HEADER_WORDS);
        done = straight;
        // Only the responses behind the end of the ring are left, if any.
        to = RING_HEADER_WORDS;
      }
      for (let from = done * 2; done < count; done++) {
        words[to] = responses[from];
        words[to + 1] = responses[from + 1];
        from += 2;
        to += 2;
        if (to === end) to = RING_HEADER_WORDS;
      }
    }
    Atomics.store(words, RING_RSP_PROD, (old + count) | 0);
    if (afterStore !== undefined) afterStore();
  }

  /** Returns a view of the first `count` responses in `responses`: the same one each time, so that the data path allocates nothing. */
  #firstResponses(count: number): Uint32Array {
    this.#views[count] ??= this.responses.subarray(0, count * this.shape.responseWords);
    return this.#views[count];
  }

  /** Writes the responses of any shape, for rings that are not hot, and for a simulation that kills after each word. */
  #respondByWord(responses: ReadonlyWords, count: number): void {
    const words = this.#words;
    const { slotWords, responseWords } = this.shape;
    for (let i = 0; i < count; i++) {
      const to = RING_HEADER_WORDS + ((this.#responsesPublished + i) & this.#mask) * slotWords;
      for (let word = 0; word < responseWords; word++) {
        words[to + word] = responses[i * responseWords + word];
        this.#afterStore?.();
      }
    }
  }

  /**
   * Asks for an event at the next request after those seen, and reads `req_prod` once more: a request that came in
   * between would otherwise wait for ever (RING_FINAL_CHECK_FOR_REQUESTS).
   * @returns whether `req_prod` has changed meanwhile: the caller calls `waiting` again.
   */
  arm(): boolean {
    const seen = this.#requestsSeen;
    Atomics.store(this.#words, RING_REQ_EVENT, (seen + 1) | 0);
    this.#afterStore?.();
    return Atomics.load(this.#words, RING_REQ_PROD) !== seen;
  }
}

/** From this number of responses of two words on, `set` (14 ns a call) is faster than a loop (1 ns a response). */
const SET_MIN = 16;

/** A loop, since `set` needs a view of the words, which is garbage. */
function copyWords(from: Uint32Array, start: number, into: Uint32Array, at: number, count: number): void {
  for (let i = 0; i < count; i++) into[at + i] = from[start + i];
}
