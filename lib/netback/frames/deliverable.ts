import type { FrameBatch } from '../../ports/frame-batch.js';

/**
 * The value of FRAME_FIRST_OP for a frame that the guest gets as segments; ports write 0 there. FRAME_STATUS is then the number of segments
 * that the guest has.
 */
export const CUT = 1;

/**
 * Frames, with the metadata that the guest gets. The offloads are decoded once, after the read: frames begin at pages, so all vnet headers
 * compete for the same few lines of a cache, and each access to one costs 5 ns.
 */
export interface Deliverable {
  readonly frames: FrameBatch;
  /** By frame: GSO_TYPE_* | segment size << 16, or GSO_UNNAMED. */
  readonly gsos: Uint32Array;
  /** By frame: RX_FLAG_*. */
  readonly flags: Uint8Array;
  /** By frame: HASH_TYPE_* of the hash that the guest gets, or 0, and the hash. */
  readonly hashTypes: Uint8Array;
  readonly hashValues: Uint32Array;
  /** Removes a frame, so that it is not delivered. */
  remove(index: number): void;
}

/** Frames of a read. Those with offloads are the exceptions: before `Conform`, none is marked. */
export interface ReadFrames extends Deliverable {
  /** Marks a frame that the guest gets with GSO. @param gso GSO_TYPE_* | segment size << 16, or GSO_UNNAMED. */
  segment(index: number, gso: number): void;
  /** Marks a frame that the guest gets as segments. */
  cut(index: number): void;
}
