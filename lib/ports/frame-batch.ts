import { VNET_HEADER_BYTES } from '../protocol/vnet.js';
import type { Arena } from '../xen/seam.js';

/** Longest frame that crosses: a GSO frame is an Ethernet header, at most one VLAN tag, and a 64 KiB datagram. */
export const FRAME_BYTES_MAX = 65535 + 18;

/**
 * Layout of FrameBatch.block: header words, then FRAME_WORDS each. native/layout.h has the same figures.
 */
export const FRAMES_COUNT = 0;
/** Reading: where in the arena frames may be put, bytes, [start, end). */
export const FRAMES_START = 1;
/** Word of a batch for reading: the end of the arena's part for frames, in bytes, exclusive. */
export const FRAMES_END = 2;
/** Reading: a frame is put at a multiple of `align`, plus `phase`; its header lies in front. align is a power of two. */
export const FRAMES_ALIGN = 3;
/** Word of a batch for reading: frames begin at this many bytes behind a multiple of FRAMES_ALIGN. */
export const FRAMES_PHASE = 4;
/** Out, reading: 1 when frames may still wait (space or capacity ended the batch). */
export const FRAMES_MORE = 5;
/** Out: errno that ended the batch, or of a frame that has one as its status; 0 when there is none. Reading, EAGAIN is no error. */
export const FRAMES_ERRNO = 6;
export const FRAMES_HEADER_WORDS = 8;

export const FRAME_WORDS = 5;
/** Offset in the arena of the frame's first byte; its vnet header lies in the VNET_HEADER_BYTES before. At a multiple of 2. */
export const FRAME_OFFSET = 0;
/** Word of a frame: its length in bytes, without the vnet header. */
export const FRAME_LENGTH = 1;
/** Writing out of a mapped GrantBatch: first operation that holds the frame's bytes. */
export const FRAME_FIRST_OP = 2;
/**
 * Operations of the frame; 0: all bytes are in the arena. Otherwise OP_HEAD of each operation is how many of its bytes are there. They
 * lie from FRAME_OFFSET on, one operation's behind the other's, up to the first operation with fewer bytes than its span. All other
 * bytes of the frame are in the mapped pages alone.
 */
export const FRAME_OP_COUNT = 3;
/** Out: 0, or the errno of this frame. */
export const FRAME_STATUS = 4;

// A module's own constants are part of the compiled code; what it exports is loaded and checked at each use.
const COUNT = FRAMES_COUNT;

/** A batch of frames as structure of arrays; shared with native code, so that a batch crosses in one call. */
export class FrameBatch {
  /** The most frames of the batch. */
  readonly capacity: number;
  /** The memory with the bytes of the frames. */
  readonly arena: Arena;
  /** Header words, then the words of each frame: FRAMES_ and FRAME_ constants name them. */
  readonly block: Uint32Array;

  /** @param block `FrameBatch.words(capacity)` of them; default: memory of its own. */
  constructor(
    arena: Arena,
    capacity: number,
    block: Uint32Array = new Uint32Array(FrameBatch.words(capacity)),
  ) {
    this.arena = arena;
    this.capacity = capacity;
    this.block = block;
    this.block[FRAMES_ALIGN] = 64;
    this.block[FRAMES_PHASE] = 16;
  }

  /** Returns how many words the block of a batch of `capacity` frames has. */
  static words(capacity: number): number {
    return FRAMES_HEADER_WORDS + capacity * FRAME_WORDS;
  }

  /** How many frames the batch has now. */
  get count(): number {
    return this.block[COUNT];
  }

  set count(frames: number) {
    this.block[COUNT] = frames;
  }
}

/** First word of frame `index` in a FrameBatch's block. */
export function frameAt(index: number): number {
  return FRAMES_HEADER_WORDS + index * FRAME_WORDS;
}

/** The first place for a frame at or behind `cursor` that a batch wants, with room for the vnet header in front. */
export function framePlace(block: Uint32Array, cursor: number): number {
  const align = block[FRAMES_ALIGN];
  const phase = block[FRAMES_PHASE] % align;
  return Math.ceil((cursor + VNET_HEADER_BYTES - phase) / align) * align + phase;
}
