import * as batch from '../../ports/frame-batch.js';
import * as netif from '../../protocol/netif.js';
import * as xen from '../../xen/seam.js';
import { isForeignFault } from '../faults/data-path-faults.js';
import type { BackRing } from '../ring/back-ring.js';
import type { PendingFrames } from './pending-frames.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;
const { RSP_ERROR, RX_SLOT_WORDS } = netif;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS } = xen;

/**
 * Lays out `count` plain pending frames from `first` on (`PendingFrames.arePlain`): frame, operation, slot and response `i` belong together.
 *
 * One loop reads the slots and writes what `#fit` and `#describe` of `Delivery` write for such frames.
 * test/netback/plain-deliveries.test.ts compares all words that both ways write.
 * @param ring `count` requests wait in it. Their slots are in the shared page, so this reads each word once.
 * @returns how many bytes the frames have.
 */
export function layOutPlain(
  ring: BackRing,
  { frames, flags }: PendingFrames,
  first: number,
  count: number,
  ops: Uint32Array,
): number {
  const { block } = frames;
  const { responses, slots, nextWord } = ring;
  const end = slots.length;
  let next = nextWord;
  let frame = FRAMES_HEADER_WORDS + first * FRAME_WORDS;
  let op = OPS_HEADER_WORDS;
  let response = 0;
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const id = slots[next] & 0xffff;
    const ref = slots[next + 1];
    next += RX_SLOT_WORDS;
    if (next === end) next = 0;
    const length = block[frame + FRAME_LENGTH];
    ops[op + OP_REF] = ref;
    ops[op + OP_SPAN] = length << 16;
    ops[op + OP_ARENA] = block[frame + FRAME_OFFSET];
    ops[op + OP_HEAD] = length;
    responses[response] = id;
    responses[response + 1] = flags[first + i] | (length << 16);
    bytes += length;
    frame += FRAME_WORDS;
    op += OP_WORDS;
    response += RX_SLOT_WORDS;
  }
  ops[OPS_COUNT] = count;
  return bytes;
}

/** The frames of a plain batch whose operation failed. */
export interface Refused {
  readonly bytes: number;
  /** Why the vif must stop, if a grant was not the guest's own; else undefined. */
  readonly reason: string | undefined;
}

/** Responds with an error for each of `count` plain frames whose operation failed: as many as OPS_FAILED counts. */
export function refusePlain(count: number, responses: Uint32Array, ops: Uint32Array): Refused {
  let reason: string | undefined;
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const op = OPS_HEADER_WORDS + i * OP_WORDS;
    const status = ops[op + OP_STATUS] | 0;
    if (status === 0) continue;
    responses[i * RX_SLOT_WORDS + 1] = (RSP_ERROR & 0xffff) << 16;
    bytes += ops[op + OP_SPAN] >>> 16;
    if (isForeignFault(status)) reason = badBuffer(status);
  }
  return { bytes, reason };
}

/** Why a vif stops whose guest posted such a receive buffer. */
export function badBuffer(status: number): string {
  return `bad grant reference in a receive buffer (status ${status})`;
}
