import * as batch from '../../ports/frame-batch.js';
import * as headers from '../../protocol/headers.js';
import * as netif from '../../protocol/netif.js';
import { ROLE_DATA, ROLE_NONE, ROLE_REFUSED, type TxFrames } from '../../protocol/tx.js';
import * as xen from '../../xen/seam.js';
import { badGrant, isForeignFault } from '../faults/data-path-faults.js';
import * as batches from '../frames/batch-memory.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_COUNT, FRAMES_HEADER_WORDS, FRAME_WORDS } = batch;
const { FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_OP_COUNT } = batch;
const { HEADERS_BYTES } = headers;
const { TX_FLAG_MORE_DATA, TX_SLOT_WORDS } = netif;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS } = xen;
const { OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } = xen;
const { FRAME_ALIGN, FRAME_PHASE, PHASE_BYTES } = batches;
const [NONE, DATA, REFUSED] = [ROLE_NONE, ROLE_DATA, ROLE_REFUSED];

/**
 * Lays the frames out in the arena and writes an operation for each slot with bytes. One loop with few calls: it is hot.
 * @param slots a private copy of the requests that `parsed` describes.
 * @returns how many bytes the frames have.
 */
export function layOutFromGuest(
  parsed: TxFrames,
  slots: Uint32Array,
  block: Uint32Array,
  ops: Uint32Array,
): number {
  const { roles, slots: count } = parsed;
  let frame = FRAMES_HEADER_WORDS - FRAME_WORDS;
  let op = OPS_HEADER_WORDS;
  let place = 0;
  let slack = PHASE_BYTES;
  let bytes = 0;
  for (let slot = 0; slot < count; slot++) {
    const role = roles[slot];
    if (role === NONE) continue;
    const from = slot * TX_SLOT_WORDS;
    const length = role === REFUSED ? 0 : slots[from + 2] >>> 16;
    if (role === DATA) {
      block[frame + FRAME_LENGTH] += length;
    } else {
      frame += FRAME_WORDS;
      place = ((place + FRAME_ALIGN - 1) & -FRAME_ALIGN) + FRAME_PHASE;
      const pad = padding(parsed, slots, slot, place, length);
      if (pad <= slack) {
        place += pad;
        slack -= pad;
      }
      block[frame + FRAME_OFFSET] = place;
      block[frame + FRAME_LENGTH] = length;
      if (length === 0) continue;
    }
    ops[op + OP_REF] = slots[from];
    ops[op + OP_SPAN] = (slots[from + 1] & 0xffff) | (length << 16);
    ops[op + OP_ARENA] = place;
    op += OP_WORDS;
    place += length;
    bytes += length;
  }
  ops[OPS_COUNT] = (op - OPS_HEADER_WORDS) / OP_WORDS;
  block[FRAMES_COUNT] = parsed.count;
  return bytes;
}

/**
 * Writes how many bytes of each operation are copied into the arena: all, or, where the port writes out of the guest's pages
 * (`headersOnly`), only those of the first HEADERS_BYTES of each frame. A frame's headers may lie in any number of slots (XSA-423);
 * in the arena they lie in one piece.
 */
export function layOutHeads(
  parsed: TxFrames,
  block: Uint32Array,
  ops: Uint32Array,
  headersOnly: boolean,
): void {
  let op = 0;
  for (let i = 0; i < parsed.count; i++) {
    if (parsed.refused(i)) continue;
    const size = parsed.size(i);
    const count = parsed.filledCount(i);
    const isWhole = !headersOnly || size <= HEADERS_BYTES;
    const frame = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
    block[frame + FRAME_FIRST_OP] = op;
    block[frame + FRAME_OP_COUNT] = isWhole ? 0 : count;
    let left = isWhole ? size : HEADERS_BYTES;
    for (const end = op + count; op < end; op++) {
      const at = OPS_HEADER_WORDS + op * OP_WORDS;
      const length = ops[at + OP_SPAN] >>> 16;
      const head = length < left ? length : left;
      ops[at + OP_HEAD] = head;
      left -= head;
    }
  }
}

/**
 * Refuses the frames of which an operation failed.
 * @returns why the vif must stop, if a grant was not the guest's own; else undefined.
 */
export function refuseFailed(parsed: TxFrames, block: Uint32Array, ops: Uint32Array): string | undefined {
  let reason: string | undefined;
  let op = 0;
  for (let i = 0; i < parsed.count; i++) {
    if (parsed.refused(i)) continue;
    for (const end = op + parsed.filledCount(i); op < end; op++) {
      const at = OPS_HEADER_WORDS + op * OP_WORDS;
      const status = ops[at + OP_STATUS] | 0;
      if (status === 0) continue;
      if (!parsed.refused(i)) parsed.refuse(i);
      block[FRAMES_HEADER_WORDS + i * FRAME_WORDS + FRAME_LENGTH] = 0;
      if (isForeignFault(status)) reason = badGrant(ops[at + OP_REF], status);
    }
  }
  return reason;
}

/** Returns how many bytes to skip before a frame, so that no slot's bytes cross a page of the arena. */
function padding(parsed: TxFrames, words: Uint32Array, slot: number, place: number, length: number): number {
  const flags = words[slot * TX_SLOT_WORDS + 1] >>> 16;
  if ((flags & TX_FLAG_MORE_DATA) === 0) return padOfOne(place, length);
  const { roles, slots } = parsed;
  let next = slot + 1;
  while (next < slots && roles[next] === NONE) next++;
  return padOfChain(place, length, next < slots ? words[next * TX_SLOT_WORDS + 1] : 0);
}

/**
 * The padding of a frame of one slot, whose `length` bytes would lie at `place`. Xen needs two copies for bytes that cross a page (1.9 copies a
 * segment without the padding, 1.0 with it).
 */
export function padOfOne(place: number, length: number): number {
  const inPage = place & (PAGE_SIZE - 1);
  return inPage + length > PAGE_SIZE ? PAGE_SIZE - inPage : 0;
}

/**
 * The padding of a frame of several slots: it gives the second one's bytes their offset in the guest's page. The bytes of the others mostly begin
 * at a page.
 * @param length of the first slot's bytes.
 * @param second has the second one's offset in its lower half.
 */
export function padOfChain(place: number, length: number, second: number): number {
  return ((second & 0xfffe) - length - place) & (PAGE_SIZE - 2);
}
