import * as batch from '../../ports/frame-batch.js';
import * as netif from '../../protocol/netif.js';
import * as xen from '../../xen/seam.js';
import type { Deliverable } from '../frames/deliverable.js';
import type { BackRing } from '../ring/back-ring.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;
const { EXTRA_TYPE_GSO, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA, RX_SLOT_WORDS } = netif;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } = xen;

/**
 * Lays out frames [first, end) of `batch` if they are usual: without a hash. A guest with headroom gets no such frames. Each takes a slot for
 * each page of its bytes, and one for its GSO. A batch of which each frame has one slot is mostly plain, and goes through `layOutPlain`.
 *
 * One loop reads the slots, and writes an operation for each page of the frames, and responses that are right if no operation fails: what
 * `BackRing.copy` and `#describe` of `Delivery` write. test/netback/plain-deliveries.test.ts compares all words that both ways write.
 * @param ring as many requests wait in it as the frames take. Their slots are in the shared page, so this reads each word once.
 * @param requests gets copies of the requests that become extra info. For the others, the responses have the identifiers.
 * @returns whether they are usual; if not, the general way overwrites all words that this wrote.
 */
export function layOutUsual(
  ring: BackRing,
  batch: Deliverable,
  first: number,
  end: number,
  requests: Uint32Array,
  ops: Uint32Array,
): boolean {
  const { gsos, flags, hashTypes } = batch;
  const { block } = batch.frames;
  const { responses, slots, nextWord } = ring;
  let next = nextWord;
  let op = OPS_HEADER_WORDS;
  let response = 0;
  for (let index = first; index < end; index++) {
    const frame = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    const bytes = block[frame + FRAME_LENGTH] | 0;
    if (bytes === 0) continue;
    if (hashTypes[index] !== 0) return false;
    const place = block[frame + FRAME_OFFSET] | 0;
    const gso = gsos[index] | 0;
    const head = bytes > PAGE_SIZE ? PAGE_SIZE : bytes;
    const more = bytes > head ? RX_FLAG_MORE_DATA : 0;
    responses[response] = slots[next] & 0xffff;
    responses[response + 1] = flags[index] | more | (gso === 0 ? 0 : RX_FLAG_EXTRA_INFO) | (head << 16);
    response += RX_SLOT_WORDS;
    ops[op + OP_REF] = slots[next + 1];
    ops[op + OP_SPAN] = head << 16;
    ops[op + OP_ARENA] = place;
    ops[op + OP_HEAD] = head;
    op += OP_WORDS;
    next = wordAfter(slots, next, 1);
    if (gso !== 0) {
      // The frame's second slot, whatever its request has.
      requests[response] = slots[next];
      responses[response] = EXTRA_TYPE_GSO | (gso & 0xffff0000);
      responses[response + 1] = gso & 0xffff;
      response += RX_SLOT_WORDS;
      next = wordAfter(slots, next, 1);
    }
    const pages = layOutPages(slots, next, place + head, bytes - head, responses, response, ops, op);
    response += pages * RX_SLOT_WORDS;
    next = wordAfter(slots, next, pages);
    op += pages * OP_WORDS;
  }
  ops[OPS_COUNT] = (op - OPS_HEADER_WORDS) / OP_WORDS;
  return true;
}

/** @returns the word of `slots` at which the slot begins that is `count` behind the one at `next`. */
function wordAfter(slots: Uint32Array, next: number, count: number): number {
  const after = next + count * RX_SLOT_WORDS;
  return after < slots.length ? after : after - slots.length;
}

/**
 * Lays out `bytes` bytes at `place`, without the frame's flags. A function of its own, so small that V8 checks the arrays once before the loop,
 * and not at each access: that is half of the time.
 * @returns in how many pages.
 */
function layOutPages(
  slots: Uint32Array,
  nextWord: number,
  place: number,
  bytes: number,
  responses: Uint32Array,
  firstResponse: number,
  ops: Uint32Array,
  firstOp: number,
): number {
  const end = slots.length;
  // Without `| 0`, V8 checks each sum for an overflow.
  let next = nextWord | 0;
  let response = firstResponse | 0;
  let op = firstOp | 0;
  let from = place | 0;
  let left = bytes | 0;
  while (left > 0) {
    const length = left > PAGE_SIZE ? PAGE_SIZE : left;
    left = (left - length) | 0;
    responses[response] = slots[next] & 0xffff;
    responses[response + 1] = (left > 0 ? RX_FLAG_MORE_DATA : 0) | (length << 16);
    response = (response + RX_SLOT_WORDS) | 0;
    ops[op + OP_REF] = slots[next + 1];
    ops[op + OP_SPAN] = length << 16;
    ops[op + OP_ARENA] = from;
    ops[op + OP_HEAD] = length;
    op = (op + OP_WORDS) | 0;
    from = (from + length) | 0;
    next = (next + RX_SLOT_WORDS) | 0;
    if (next === end) next = 0;
  }
  return ((response - firstResponse) / RX_SLOT_WORDS) | 0;
}
