import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import * as netif from '../../protocol/netif.js';
import * as xen from '../../xen/seam.js';
import { badGrant, isForeignFault } from '../faults/data-path-faults.js';
import * as batches from '../frames/batch-memory.js';
import * as offload from '../frames/offload-from-guest.js';
import type { BackRing } from '../ring/back-ring.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_COUNT, FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;
const { FRAME_BYTES_MIN, GSO_TYPE_NONE, RSP_ERROR, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA, TX_SLOT_WORDS } =
  netif;
const { OP_ARENA, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } = xen;
const { FRAME_ALIGN, FRAME_PHASE, PHASE_BYTES } = batches;
const { describeFromGuest } = offload;

/** The flags of a frame with further slots, at their place in a slot's second word. */
const MORE_SLOTS = (TX_FLAG_MORE_DATA | TX_FLAG_EXTRA_INFO) << 16;

/** The result of `layOutPlain` for a batch with a slot that is not plain. */
export const NOT_PLAIN = 0;

/**
 * Lays out a plain batch. A batch is plain if each slot is a frame of its own: it has neither extra info nor more data, at least the bytes
 * of an Ethernet header, and all bytes in one page. Most batches are plain, but not those of bulk TCP. So slot, operation, response and
 * frame `i` belong together.
 *
 * One loop reads the slots and writes what `parseTx` and `layOutFromGuest` write for such a batch. It fills nothing of a TxFrames but the
 * responses. test/netback/plain-batches.test.ts compares all words that both ways write.
 * @param ring `count` requests wait in it. Their slots are in the shared page, so this reads each word once.
 * @param flags gets the frames' TX_FLAG_*.
 * @returns how many bytes the frames have; or NOT_PLAIN: the general way then overwrites all words that this wrote. Each slot before the
 *   first one that is not plain costs 5 ns.
 */
export function layOutPlain(
  ring: BackRing,
  count: number,
  flags: Uint32Array,
  responses: Uint32Array,
  block: Uint32Array,
  ops: Uint32Array,
): number {
  const { slots, nextWord } = ring;
  const end = slots.length;
  let next = nextWord;
  let frame = FRAMES_HEADER_WORDS;
  let op = OPS_HEADER_WORDS;
  let place = FRAME_PHASE;
  let slack = PHASE_BYTES;
  let bytes = 0;
  for (let slot = 0; slot < count; slot++) {
    const ref = slots[next];
    const middle = slots[next + 1];
    const last = slots[next + 2];
    next += TX_SLOT_WORDS;
    if (next === end) next = 0;
    const offset = middle & 0xffff;
    const length = last >>> 16;
    if ((middle & MORE_SLOTS) !== 0 || length < FRAME_BYTES_MIN || offset + length > PAGE_SIZE)
      return NOT_PLAIN;
    // No slot's bytes may cross a page of the arena (see `padding` for `layOutFromGuest`).
    const inPage = place & (PAGE_SIZE - 1);
    if (inPage + length > PAGE_SIZE && PAGE_SIZE - inPage <= slack) {
      place += PAGE_SIZE - inPage;
      slack -= PAGE_SIZE - inPage;
    }
    flags[slot] = middle >>> 16;
    responses[slot] = last & 0xffff;
    block[frame + FRAME_OFFSET] = place;
    block[frame + FRAME_LENGTH] = length;
    ops[op + OP_REF] = ref;
    ops[op + OP_SPAN] = offset | (length << 16);
    ops[op + OP_ARENA] = place;
    place = ((place + length + FRAME_ALIGN - 1) & -FRAME_ALIGN) + FRAME_PHASE;
    bytes += length;
    frame += FRAME_WORDS;
    op += OP_WORDS;
  }
  ops[OPS_COUNT] = count;
  block[FRAMES_COUNT] = count;
  return bytes;
}

/**
 * Refuses the frames of a plain batch whose operation failed: as many as OPS_FAILED counts.
 * @returns why the vif must stop, if a grant was not the guest's own; else undefined.
 */
export function refusePlain(
  count: number,
  responses: Uint32Array,
  block: Uint32Array,
  ops: Uint32Array,
): string | undefined {
  let reason: string | undefined;
  for (let i = 0; i < count; i++) {
    const op = OPS_HEADER_WORDS + i * OP_WORDS;
    const status = ops[op + OP_STATUS] | 0;
    if (status === 0) continue;
    responses[i] |= RSP_ERROR << 16;
    block[FRAMES_HEADER_WORDS + i * FRAME_WORDS + FRAME_LENGTH] = 0;
    if (isForeignFault(status)) reason = badGrant(ops[op + OP_REF], status);
  }
  return reason;
}

/**
 * Writes the vnet headers of a plain batch whose bytes are all in the arena.
 * @returns how many frames have offloads that contradict their headers. Their length becomes 0, and they are not sent.
 */
export function describePlain(flags: Uint32Array, frames: FrameBatch): number {
  const { arena, block, count } = frames;
  let dropped = 0;
  let at = FRAMES_HEADER_WORDS;
  for (let i = 0; i < count; i++) {
    const length = block[at + FRAME_LENGTH];
    // A frame that was refused has no bytes.
    if (length !== 0) {
      const offset = block[at + FRAME_OFFSET];
      if (!describeFromGuest(arena, offset, length, length, flags[i], GSO_TYPE_NONE)) {
        block[at + FRAME_LENGTH] = 0;
        dropped++;
      }
    }
    at += FRAME_WORDS;
  }
  return dropped;
}
