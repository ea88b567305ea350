import { FRAME_BYTES_MAX, FrameBatch } from '../../ports/frame-batch.js';
import { type OwnArena, PAGE_SIZE } from '../../xen/seam.js';
import { SPILL_BYTES } from './hooks.js';

/** The most slots of a batch, in either direction. Several frames of the largest size (18 slots and extras) fit. */
export const BATCH_SLOTS = 128;

/**
 * The memory for the frames of both directions: the blocks and arenas of their batches. With a journal that memory
 * outlives the process, so that the next process finds the pending frames.
 */

/** Frames lie at 16 past a multiple of 64, behind their vnet header, unless the guest's pages suggest another place. */
export const FRAME_ALIGN = 64;
export const FRAME_PHASE = 16;
/** How many bytes of an arena may be left unused so that no slot's bytes cross a page of the arena. */
export const PHASE_BYTES = 16 * PAGE_SIZE;
export const FROM_GUEST_ARENA_BYTES =
  BATCH_SLOTS * (PAGE_SIZE + FRAME_ALIGN + FRAME_PHASE) + PHASE_BYTES + SPILL_BYTES;

export const TO_GUEST_FRAMES = 64;
/** Room for frames that were read, and for segments behind them. Part of a journal's layout. */
const READ_AND_SEGMENTS_BYTES = 8 * (FRAME_BYTES_MAX + 64) + TO_GUEST_FRAMES * 2048;
/** Room for a segment of the largest size behind the page with its vnet header. */
const SEGMENTS_PAGES = Math.ceil(FRAME_BYTES_MAX / PAGE_SIZE) + 1;
/** Room to read several frames of the largest size, or a full batch of small ones. A whole number of pages. */
export const READ_BYTES = (Math.floor(READ_AND_SEGMENTS_BYTES / PAGE_SIZE) - SEGMENTS_PAGES) * PAGE_SIZE;
/**
 * Ports read frames up to here. Frames begin at pages, and each of their pages takes a slot, so that the frames of a read mostly fit in one
 * delivery, of BATCH_SLOTS slots.
 */
export const READ_END = BATCH_SLOTS * PAGE_SIZE;
/** Segments of pending frames lie between READ_BYTES and SEGMENTS_END (`CutFrames`). */
export const SEGMENTS_END = READ_AND_SEGMENTS_BYTES;
export const TO_GUEST_ARENA_BYTES = READ_AND_SEGMENTS_BYTES + SPILL_BYTES;

export interface Batches {
  readonly fromGuest: FrameBatch;
  readonly toGuest: FrameBatch;
  /** Frees the memory of both directions. */
  end(): void;
}

/** Returns batches in memory that ends with the process at the latest. */
export function newBatches(arena: (bytes: number) => OwnArena): Batches {
  const fromGuest = arena(FROM_GUEST_ARENA_BYTES);
  const toGuest = arena(TO_GUEST_ARENA_BYTES);
  return {
    fromGuest: new FrameBatch(fromGuest, BATCH_SLOTS),
    toGuest: new FrameBatch(toGuest, TO_GUEST_FRAMES),
    end: () => {
      fromGuest[Symbol.dispose]();
      toGuest[Symbol.dispose]();
    },
  };
}
