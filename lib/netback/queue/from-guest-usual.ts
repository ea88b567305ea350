import * as batch from '../../ports/frame-batch.js';
import * as netif from '../../protocol/netif.js';
import type { TxFrames } from '../../protocol/tx.js';
import * as xen from '../../xen/seam.js';
import * as batches from '../frames/batch-memory.js';
import type { BackRing } from '../ring/back-ring.js';
import * as layout from './from-guest-layout.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_COUNT, FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;
const { EXTRA_TYPE_GSO, GSO_TYPE_NONE, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6 } = netif;
const { FRAME_BYTES_MIN, FRAME_SLOTS_SENT_MAX, TX_SLOT_WORDS } = netif;
const { OP_ARENA, OP_REF, OP_SPAN, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } = xen;
const { FRAME_ALIGN, FRAME_PHASE, PHASE_BYTES } = batches;
const { padOfChain, padOfOne } = layout;

/** Flags at their place in a slot's second word. */
const MORE_DATA = netif.TX_FLAG_MORE_DATA << 16;
const EXTRA_INFO = netif.TX_FLAG_EXTRA_INFO << 16;
const NULL_RESPONSE = netif.RSP_NULL << 16;
/** The most slots behind a frame's first, extra info aside. */
const CHAIN_MAX = FRAME_SLOTS_SENT_MAX - 1;

/** The result of `layOutUsual` for a batch with a frame that is not usual, or that does not end. */
export const NOT_USUAL = 0;

/**
 * Lays out a usual batch. A frame is usual if Linux's netback sends it, each of its slots has bytes, and its only extra info, if any, is that of
 * GSO. Bulk TCP has such frames, of up to 19 slots. A batch of which each frame has one slot is plain, and goes through `layOutPlain`.
 *
 * One loop reads the slots, and for each frame it writes what `parseTx` and `layOutFromGuest` write. It omits only TxFrames' roles, which are
 * for `layOutFromGuest`. test/netback/plain-batches.test.ts compares all words that both ways write.
 * @param ring `count` requests wait in it. Their slots are in the shared page, so this reads each word once.
 * @param whole as for `parseTx`.
 * @returns how many bytes the frames have; or NOT_USUAL: the general way then overwrites all words that it uses.
 */
export function layOutUsual(
  ring: BackRing,
  count: number,
  whole: boolean,
  frames: TxFrames,
  block: Uint32Array,
  ops: Uint32Array,
): number {
  const { slots, nextWord } = ring;
  const { responses } = frames;
  const end = slots.length;
  let next = nextWord;
  let frame = FRAMES_HEADER_WORDS;
  let op = OPS_HEADER_WORDS;
  let place = 0;
  let slack = PHASE_BYTES;
  let bytes = 0;
  let index = 0;
  let slot = 0;
  frames.refusals = 0;
  frames.fault = undefined;
  frames.commands = 0;
  while (slot < count) {
    const first = slot;
    const firstOp = op;
    const ref = slots[next];
    // As int32, which V8 compares and adds without a check for its sign.
    const middle = slots[next + 1] | 0;
    const last = slots[next + 2] | 0;
    next += TX_SLOT_WORDS;
    if (next === end) next = 0;
    responses[slot++] = last & 0xffff;
    let gso = GSO_TYPE_NONE;
    if ((middle & EXTRA_INFO) !== 0) {
      if (slot === count) {
        slot = first;
        break;
      }
      const head = slots[next] | 0;
      const type = slots[next + 1] & 0xff;
      next += TX_SLOT_WORDS;
      if (next === end) next = 0;
      if ((head & 0xffff) !== EXTRA_TYPE_GSO || head >>> 16 === 0) return NOT_USUAL;
      if (type !== GSO_TYPE_TCPV4 && type !== GSO_TYPE_TCPV6) return NOT_USUAL;
      responses[slot++] = NULL_RESPONSE;
      gso = type | (head & 0xffff0000);
    }
    op += OP_WORDS;
    // The bytes of all slots but the first, whose own share is what remains of the frame's size.
    let rest = 0;
    let more = middle & MORE_DATA;
    const limit = slot + CHAIN_MAX < count ? slot + CHAIN_MAX : count;
    while (more !== 0 && slot < limit) {
      ops[op + OP_REF] = slots[next];
      const span = slots[next + 1] | 0;
      const tail = slots[next + 2] | 0;
      next += TX_SLOT_WORDS;
      if (next === end) next = 0;
      const offset = span & 0xffff;
      const length = tail >>> 16;
      if (length === 0 || offset + length > PAGE_SIZE) return NOT_USUAL;
      ops[op + OP_SPAN] = offset | (length << 16);
      // From the second slot's bytes on. Where these lie depends on the first slot's share.
      ops[op + OP_ARENA] = rest;
      op += OP_WORDS;
      rest += length;
      responses[slot++] = tail & 0xffff;
      more = span & MORE_DATA;
    }
    if (more !== 0) {
      if (slot < count) return NOT_USUAL;
      slot = first;
      op = firstOp;
      break;
    }
    const size = last >>> 16;
    const offset = middle & 0xffff;
    const share = size - rest;
    if (size < FRAME_BYTES_MIN || share <= 0 || offset + share > PAGE_SIZE) return NOT_USUAL;
    place = ((place + FRAME_ALIGN - 1) & -FRAME_ALIGN) + FRAME_PHASE;
    const pad =
      rest === 0 ? padOfOne(place, share) : padOfChain(place, share, ops[firstOp + OP_WORDS + OP_SPAN]);
    if (pad <= slack) {
      place += pad;
      slack -= pad;
    }
    block[frame + FRAME_OFFSET] = place;
    block[frame + FRAME_LENGTH] = size;
    frame += FRAME_WORDS;
    ops[firstOp + OP_REF] = ref;
    ops[firstOp + OP_SPAN] = offset | (share << 16);
    ops[firstOp + OP_ARENA] = place;
    const second = place + share;
    for (let at = firstOp + OP_WORDS; at < op; at += OP_WORDS)
      ops[at + OP_ARENA] = (ops[at + OP_ARENA] | 0) + second;
    place += size;
    bytes += size;
    frames.begin(index, size, middle >>> 16);
    frames.endSound(index, first, slot - first, (op - firstOp) / OP_WORDS, gso);
    index++;
  }
  // A last frame that does not end is the frontend's fault, or it goes into the next batch.
  if (slot < count && whole) return NOT_USUAL;
  frames.finish(index, slot);
  ops[OPS_COUNT] = (op - OPS_HEADER_WORDS) / OP_WORDS;
  block[FRAMES_COUNT] = index;
  return bytes;
}
