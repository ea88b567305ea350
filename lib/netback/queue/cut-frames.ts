import type { FrameBatch as Batch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import { GSO_TYPE_NONE, RX_FLAG_DATA_VALIDATED } from '../../protocol/netif.js';
import { rxSlotsNeeded } from '../../protocol/rx.js';
import { Segments } from '../../protocol/segment.js';
import * as vnet from '../../protocol/vnet.js';
import { type Arena, PAGE_SIZE } from '../../xen/seam.js';
import { READ_BYTES, SEGMENTS_END, TO_GUEST_FRAMES } from '../frames/batch-memory.js';
import type { GuestCapabilities } from '../frames/conform.js';
import type { Deliverable } from '../frames/deliverable.js';
import { planOf } from '../frames/segment-plan.js';
import type { PendingFrames } from './pending-frames.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS, FrameBatch } = batch;
const { VNET_HEADER_BYTES } = vnet;

/**
 * Segments lie at multiples of this, or at the beginning of a page, so that each page of the guest gets its bytes from one page of vifd.
 */
const ALIGN = 64;
const NO_ROOM = 0;

/**
 * Makes the segments of pending frames that the guest cannot take whole. Such a frame stays in the journal as it was read until the
 * guest has all of its segments. `fill` makes segments in the arena when the guest has buffers for them, and the journal records how many
 * segments the guest has. A stop therefore loses and repeats no segment, and a kill repeats those of one batch at most.
 */
export class CutFrames implements Deliverable {
  /** The segments that were made last. */
  readonly frames: Batch;
  /** Segments have no GSO, and complete checksums. */
  readonly gsos = new Uint32Array(TO_GUEST_FRAMES).fill(GSO_TYPE_NONE);
  readonly flags = new Uint8Array(TO_GUEST_FRAMES).fill(RX_FLAG_DATA_VALIDATED);
  readonly hashTypes = new Uint8Array(TO_GUEST_FRAMES);
  readonly hashValues = new Uint32Array(TO_GUEST_FRAMES);
  readonly #capabilities: GuestCapabilities;
  readonly #segments = new Segments();

  constructor(arena: Arena, capabilities: GuestCapabilities) {
    this.frames = new FrameBatch(arena, TO_GUEST_FRAMES);
    this.#capabilities = capabilities;
  }

  remove(index: number): void {
    this.frames.block[FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_LENGTH] = 0;
  }

  /** How many segments the frame of the last `fill` or `nextSlots` has. */
  get count(): number {
    return this.#segments.count;
  }

  /** @returns how many slots the next segment of a pending frame takes; 0 for a frame that cannot be cut. */
  nextSlots(pending: PendingFrames, index: number): number {
    const done = pending.segmentsDone(index);
    if (!this.#plan(pending, index) || done >= this.#segments.count) return 0;
    const { xdpHeadroom } = this.#capabilities;
    return rxSlotsNeeded(this.#segments.bytesOf(done), 0, xdpHeadroom, pending.hashTypes[index]);
  }

  /**
   * Makes the next segments of a pending frame, at most `most`.
   * @returns how many; 0 if the frame cannot be cut.
   */
  fill(pending: PendingFrames, index: number, most: number): number {
    const { block, arena, capacity } = this.frames;
    const done = pending.segmentsDone(index);
    this.frames.count = 0;
    if (!this.#plan(pending, index) || !isFree(pending)) return 0;
    let cursor = READ_BYTES;
    let made = 0;
    while (made < Math.min(most, capacity) && done + made < this.#segments.count) {
      const bytes = this.#segments.bytesOf(done + made);
      const offset = placeOf(cursor, bytes);
      if (offset === NO_ROOM) break;
      this.#segments.write(arena.bytes, done + made, arena.bytes, offset);
      const at = FRAMES_HEADER_WORDS + made * FRAME_WORDS;
      block[at + FRAME_OFFSET] = offset;
      block[at + FRAME_LENGTH] = bytes;
      this.hashTypes[made] = pending.hashTypes[index];
      this.hashValues[made] = pending.hashValues[index];
      cursor = offset + bytes;
      made++;
    }
    this.frames.count = made;
    return made;
  }

  #plan(pending: PendingFrames, index: number): boolean {
    const { arena, block } = pending.frames;
    const at = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    return planOf(this.#segments, arena, block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]);
  }
}

/** @returns where the next segment begins, so that its vnet header fits between `cursor` and it; or NO_ROOM. */
function placeOf(cursor: number, bytes: number): number {
  const least = cursor + VNET_HEADER_BYTES;
  const aligned = (least + ALIGN - 1) & -ALIGN;
  const isInPage = (aligned & (PAGE_SIZE - 1)) + bytes <= PAGE_SIZE;
  const offset = isInPage ? aligned : (least + PAGE_SIZE - 1) & -PAGE_SIZE;
  return offset + bytes <= SEGMENTS_END ? offset : NO_ROOM;
}

/** Whether no pending frame lies where segments are made: the journal of an earlier vifd may have frames up to SEGMENTS_END. */
function isFree({ frames, next }: PendingFrames): boolean {
  const { block, count } = frames;
  for (let i = next; i < count; i++) {
    const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
    const [offset, bytes] = [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
    if (bytes > 0 && offset < SEGMENTS_END && offset + bytes > READ_BYTES) return false;
  }
  return true;
}
