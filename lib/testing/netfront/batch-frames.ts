import {
  FRAME_FIRST_OP,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_END,
  FRAMES_START,
  type FrameBatch,
  frameAt,
  framePlace,
} from '../../ports/frame-batch.js';
import { VNET_HEADER_BYTES } from '../../protocol/vnet.js';

/** @returns the bytes of a frame in the arena, without a copy; empty for a frame that is passed over. */
export function frameIn({ arena, block }: FrameBatch, index: number): Uint8Array {
  const offset = block[frameAt(index) + FRAME_OFFSET];
  return arena.bytes.subarray(offset, offset + block[frameAt(index) + FRAME_LENGTH]);
}

/** @returns the virtio_net_hdr of a frame in the arena, without a copy. */
export function headerIn({ arena, block }: FrameBatch, index: number): Uint8Array {
  const offset = block[frameAt(index) + FRAME_OFFSET];
  return arena.bytes.subarray(offset - VNET_HEADER_BYTES, offset);
}

export function frameStatus({ block }: FrameBatch, index: number): number {
  return block[frameAt(index) + FRAME_STATUS];
}

/** @param errno 0: the frame was sent. */
export function setFrameStatus({ block }: FrameBatch, index: number, errno: number): void {
  block[frameAt(index) + FRAME_STATUS] = errno;
}

/**
 * Copies a frame behind the last one of the batch, to the place that the batch's alignment requires.
 * @param header its virtio_net_hdr. Default: no offload.
 * @param roomBytes that must be free at its place. Default: the frame's length.
 * @returns false if the batch has no room for the frame.
 */
export function addFrame(
  batch: FrameBatch,
  frame: Uint8Array,
  header?: Uint8Array,
  roomBytes = frame.length,
): boolean {
  const { arena, block, count } = batch;
  if (count === batch.capacity) return false;
  const last = frameAt(count - 1);
  const from = count === 0 ? block[FRAMES_START] : block[last + FRAME_OFFSET] + block[last + FRAME_LENGTH];
  const offset = framePlace(block, from);
  // A batch for writing may lie anywhere in the arena.
  const end = Math.min(block[FRAMES_END] || arena.bytes.length, arena.bytes.length);
  if (offset + roomBytes > end) return false;
  arena.bytes.fill(0, offset - VNET_HEADER_BYTES, offset);
  if (header !== undefined) arena.bytes.set(header, offset - VNET_HEADER_BYTES);
  arena.bytes.set(frame, offset);
  const at = frameAt(count);
  block[at + FRAME_OFFSET] = offset;
  block[at + FRAME_LENGTH] = frame.length;
  block[at + FRAME_FIRST_OP] = 0;
  block[at + FRAME_OP_COUNT] = 0;
  block[at + FRAME_STATUS] = 0;
  batch.count = count + 1;
  return true;
}
