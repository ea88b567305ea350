import { DurableWords } from '../../durable/durable-words.js';
import { NONE_PENDING } from '../../durable/redo.js';
import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import * as vnet from '../../protocol/vnet.js';
import * as xen from '../../xen/seam.js';
import { READ_BYTES, READ_END, TO_GUEST_FRAMES } from '../frames/batch-memory.js';
import type { ReadFrames } from '../frames/deliverable.js';
import * as deliverable from '../frames/deliverable.js';
import { rxFlagsOf, rxGsoOf } from '../frames/offload-to-guest.js';
import type { HashState } from '../guest/hash.js';
import type { BackRing } from '../ring/back-ring.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const {
  FRAMES_ALIGN,
  FRAMES_COUNT,
  FRAMES_END,
  FRAMES_ERRNO,
  FRAMES_HEADER_WORDS,
  FRAMES_PHASE,
  FRAMES_START,
} = batch;
const { FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_OP_COUNT, FRAME_STATUS, FRAME_WORDS } = batch;
const { VNET_HEADER_BYTES, vnetWord } = vnet;
const { PAGE_SIZE } = xen;
const { CUT } = deliverable;

/** A word of the block's header that ports do not use: how many of the frames may belong to another queue. */
const UNSORTED = FRAMES_HEADER_WORDS - 1;
/** `#end` was not computed for this batch. */
const UNKNOWN = -1;

/**
 * The pending frames of one queue: read, and not delivered yet; one batch at most. They lie in the queue's journal, and the ring's log
 * records which of the batch are pending: if this process ends, the next one delivers them.
 */
export class PendingFrames implements ReadFrames {
  readonly frames: FrameBatch;
  /** Frames [next, frames.count) are pending, except those of length 0, which were dropped or moved to another queue. */
  next = 0;
  readonly gsos = new Uint32Array(TO_GUEST_FRAMES);
  readonly flags = new Uint8Array(TO_GUEST_FRAMES);
  /** The hash type of each frame at the time of its read. */
  readonly hashTypes = new Uint8Array(TO_GUEST_FRAMES);
  readonly hashValues = new Uint32Array(TO_GUEST_FRAMES);
  readonly #ring: BackRing;
  /** The frames' block. */
  readonly #block: DurableWords;
  /** Whether `hashTypes` may have others than 0. */
  #isHashed = false;
  /** Of frames from this one on, `gsos` has only 0, and none is marked as cut. At first, the previous process may have marked any. */
  #marksEnd: number;
  /** Where the last of the frames below READ_BYTES ends in the arena. */
  #end = UNKNOWN;

  /** @param afterStore runs after each store that the next process depends on; a simulation kills the process there. */
  constructor(frames: FrameBatch, ring: BackRing, afterStore?: () => void) {
    this.frames = frames;
    this.#ring = ring;
    const { block } = frames;
    this.#block = new DurableWords(block, afterStore);
    this.#marksEnd = frames.capacity;
    block[FRAMES_START] = 0;
    block[FRAMES_END] = READ_END;
    // Frames begin at pages, so that each page of the guest gets its bytes from one page of vifd: one copy for Xen instead of two.
    block[FRAMES_ALIGN] = PAGE_SIZE;
    block[FRAMES_PHASE] = 0;
    // The frames that the previous process had read and not delivered come first.
    if (ring.firstPending === NONE_PENDING) this.#begin();
    else {
      this.next = ring.firstPending;
      for (let i = this.next; i < frames.count; i++) this.#describe(i);
    }
  }

  get empty(): boolean {
    return this.next === this.frames.count;
  }

  get size(): number {
    return this.frames.count - this.next;
  }

  /** How many of the pending frames were neither dropped nor moved to another queue. */
  get remaining(): number {
    const { count } = this.frames;
    let remaining = 0;
    for (let i = this.next; i < count; i++) if (!this.isRemoved(i)) remaining++;
    return remaining;
  }

  /**
   * How many frames, from the batch's first on, may belong to another queue, because this process, or one that was killed, has not sorted
   * them yet.
   */
  get unsorted(): number {
    return Math.min(this.frames.block[UNSORTED], this.frames.count);
  }

  /** Prepares the batch for a read from the port. Call it only while no frame is pending. */
  beginRead(): void {
    const { block } = this.frames;
    this.next = 0;
    block[FRAMES_COUNT] = 0;
    block[FRAMES_ERRNO] = 0;
    if (this.#marksEnd > 0) this.#clearMarks();
  }

  /** Hashes the pending frames, if the guest wants that. */
  hash(hash: HashState): void {
    const { arena, block, count } = this.frames;
    if (!hash.active) {
      if (this.#isHashed) this.hashTypes.fill(0);
      this.#isHashed = false;
      return;
    }
    this.#isHashed = true;
    for (let i = this.next; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      this.hashTypes[i] = hash.look(arena.bytes, block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]);
      this.hashValues[i] = hash.value;
    }
  }

  /** Records in the journal that the frames of the read batch are pending. @param unsorted some of them may belong to another queue. */
  record(unsorted: boolean): void {
    const { count } = this.frames;
    this.next = 0;
    this.#end = UNKNOWN;
    this.#block.store(UNSORTED, unsorted ? count : 0);
    this.#ring.setPending(0);
  }

  /** Records that all remaining frames of the batch belong to this queue. */
  endSorting(): void {
    this.#block.store(UNSORTED, 0);
    if (this.remaining === 0) this.clear();
  }

  /** Records that no frame is pending. */
  clear(): void {
    // First, since the next read overwrites the frames.
    this.#ring.clearPending();
    this.#begin();
  }

  segment(index: number, gso: number): void {
    this.#mark(index);
    this.gsos[index] = gso;
  }

  cut(index: number): void {
    this.#mark(index);
    const at = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    // The journal has no frame of this read before `record`.
    this.frames.block[at + FRAME_STATUS] = 0;
    this.frames.block[at + FRAME_FIRST_OP] = CUT;
  }

  #mark(index: number): void {
    if (index >= this.#marksEnd) this.#marksEnd = index + 1;
  }

  isRemoved(index: number): boolean {
    return this.frames.block[FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_LENGTH] === 0;
  }

  /** Whether the guest gets the frame as segments. */
  isCut(index: number): boolean {
    return this.frames.block[FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_FIRST_OP] === CUT;
  }

  /** @returns how many segments of the frame the guest has. */
  segmentsDone(index: number): number {
    return this.frames.block[FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_STATUS];
  }

  /** Records how many segments of the frame the guest has. After a kill before this store the next process delivers the last ones again. */
  recordSegments(index: number, count: number): void {
    this.#block.commit(FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_STATUS, count);
  }

  /** Removes a frame, so that this queue does not deliver it. */
  remove(index: number): void {
    this.#block.store(FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_LENGTH, 0);
  }

  /**
   * Adds a copy of another queue's frame behind all others. When this returns, the copy is complete and in the journal. The caller removes
   * the original after that, so a process that is killed in between leaves the frame in both queues.
   * @returns false if there is no room.
   */
  append(from: PendingFrames, index: number): boolean {
    const { arena, capacity } = this.frames;
    const begins = this.empty;
    const place = begins ? 0 : this.frames.count;
    if (place >= capacity) return false;
    const source = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    const bytes = from.frames.block[source + FRAME_LENGTH];
    const offset = pageBehind(begins ? 0 : this.#endOf(place));
    if (offset + bytes > READ_BYTES) return false;
    const start = from.frames.block[source + FRAME_OFFSET] - VNET_HEADER_BYTES;
    copyBytes(from.frames.arena, start, arena, offset - VNET_HEADER_BYTES, bytes + VNET_HEADER_BYTES);
    if (begins) this.#begin();
    const at = FRAMES_HEADER_WORDS + place * FRAME_WORDS;
    this.#block.store(at + FRAME_OFFSET, offset);
    this.#block.store(at + FRAME_LENGTH, bytes);
    this.#block.store(at + FRAME_FIRST_OP, from.frames.block[source + FRAME_FIRST_OP]);
    this.#block.store(at + FRAME_OP_COUNT, 0);
    this.#block.store(at + FRAME_STATUS, 0);
    this.#isHashed ||= from.#isHashed;
    if (index < from.#marksEnd) this.#mark(place);
    this.gsos[place] = from.gsos[index];
    this.flags[place] = from.flags[index];
    this.hashTypes[place] = from.hashTypes[index];
    this.hashValues[place] = from.hashValues[index];
    this.#end = offset + bytes;
    // This one store adds the frame. If no frame was pending, the log records it after that.
    this.#block.commit(FRAMES_COUNT, place + 1);
    if (begins) this.#ring.setPending(0);
    return true;
  }

  /** Decodes the offload of a frame that an earlier process read. */
  #describe(index: number): void {
    const { arena, block } = this.frames;
    const offset = block[FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_OFFSET];
    const first = vnetWord(arena.u32, offset, 0);
    this.gsos[index] = rxGsoOf(first, vnetWord(arena.u32, offset, 1));
    this.flags[index] = rxFlagsOf(first);
  }

  /** Clears the marks of the batch before, so that a read needs no store for each frame that has none. */
  #clearMarks(): void {
    const { block } = this.frames;
    for (let i = 0; i < this.#marksEnd; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      block[at + FRAME_FIRST_OP] = 0;
      block[at + FRAME_STATUS] = 0;
      this.gsos[i] = 0;
    }
    this.#marksEnd = 0;
  }

  #begin(): void {
    this.#block.store(FRAMES_COUNT, 0);
    this.#block.store(UNSORTED, 0);
    this.next = 0;
    this.#end = UNKNOWN;
  }

  /**
   * @returns where the last of `count` frames ends. Frames beyond READ_BYTES, which a hook made longer, do not count: `append` puts none
   *   there.
   */
  #endOf(count: number): number {
    if (this.#end !== UNKNOWN) return this.#end;
    const { block } = this.frames;
    let end = 0;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const offset = block[at + FRAME_OFFSET];
      if (offset < READ_BYTES) end = Math.max(end, offset + block[at + FRAME_LENGTH]);
    }
    return end;
  }
}

/** @returns where a port would put a frame: at the first page behind `end` with room for the vnet header in front. */
function pageBehind(end: number): number {
  return (end + VNET_HEADER_BYTES + PAGE_SIZE - 1) & -PAGE_SIZE;
}

/**
 * Copies by words, without a view. `start` may be an odd multiple of 2, as some ports put frames there. `at` is a multiple of 4, with room
 * up to the next.
 */
function copyBytes(from: xen.Arena, start: number, to: xen.Arena, at: number, count: number): void {
  if (start % 4 === 0) {
    const source = from.u32;
    const target = to.u32;
    const first = start >>> 2;
    const into = at >>> 2;
    const words = (count + 3) >>> 2;
    for (let i = 0; i < words; i++) target[into + i] = source[first + i];
  } else {
    for (let i = 0; i < count; i++) to.bytes[at + i] = from.bytes[start + i];
  }
}
