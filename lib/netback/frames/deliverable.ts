import type { FrameBatch } from '../../ports/frame-batch.js';

/**
 * In FRAME_FIRST_OP, into which ports write 0: the guest gets the frame as segments. FRAME_STATUS counts those that the guest has.
 */
export const CUT = 1;

/**
 * Frames, and what goes to the guest with them. The offloads are decoded once, at reading: frames begin at pages, so that all vnet headers
 * compete for the same few lines of a cache, and each look at one costs 5 ns.
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
  /** Removes a frame: it is not delivered. */
  remove(index: number): void;
}
