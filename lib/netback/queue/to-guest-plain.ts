import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import * as checksum from '../../protocol/checksum.js';
import * as netif from '../../protocol/netif.js';
import * as vnet from '../../protocol/vnet.js';
import * as xen from '../../xen/seam.js';
import { isForeignFault } from '../faults/data-path-faults.js';
import { rxFlagsOf } from '../frames/offload-to-guest.js';
import type { BackRing } from '../ring/back-ring.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;
const { isUsualChecksum } = checksum;
const { RSP_ERROR, RX_SLOT_WORDS } = netif;
const { VNET_FLAG_NEEDS_CSUM, VNET_HEADER_BYTES } = vnet;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } =
  xen;

/** The GSO type in the first word of a vnet header. */
const GSO_TYPE = 0xff00;

/** A byte with RX_FLAG_* for each value of the flags of a vnet header without GSO, as `rxFlagsOf` decodes them. */
const FLAGS = [0, 1, 2, 3].reduce((bytes, flags) => bytes | (rxFlagsOf(flags) << (flags * 8)), 0);

/** The result of `layOutPlain` for a batch with a frame that is not plain. */
export const NOT_PLAIN = 0;

/**
 * Lays out all frames of a read if they are plain. A frame is plain if it takes one slot and nothing of it is changed: it has at most a page of
 * bytes, no GSO, and no partial checksum but that of TCP or UDP over IPv4 where `isUsualChecksum` finds it. Most frames are plain, but not
 * those of bulk TCP. So frame, operation, slot and response `i` belong together.
 *
 * One loop writes what `Conform`, and `#fit` and `#describe` of `Delivery`, write for such frames.
 * test/netback/plain-deliveries.test.ts compares all words that both ways write.
 * @param ring at least as many requests wait in it. Their slots are in the shared page, so this reads each word once.
 * @param checksums whether the guest can take such a partial checksum.
 * @returns how many bytes the frames have; or NOT_PLAIN: the general way then overwrites all words that this wrote.
 */
export function layOutPlain(
  ring: BackRing,
  { arena, block, count }: FrameBatch,
  ops: Uint32Array,
  checksums: boolean,
): number {
  const words = arena.u32;
  const { responses, slots, nextWord } = ring;
  const end = slots.length | 0;
  const odd = checksums ? GSO_TYPE : GSO_TYPE | VNET_FLAG_NEEDS_CSUM;
  const framesEnd = FRAMES_HEADER_WORDS + count * FRAME_WORDS;
  let next = nextWord;
  let op = OPS_HEADER_WORDS;
  let response = 0;
  let bytes = 0;
  for (let frame = FRAMES_HEADER_WORDS; frame < framesEnd; frame += FRAME_WORDS) {
    // `| 0` here and below: as int32, which V8 compares and adds without a check for its sign, or for an overflow.
    const offset = block[frame + FRAME_OFFSET] | 0;
    const length = block[frame + FRAME_LENGTH] | 0;
    if (length <= 0 || length > PAGE_SIZE || (offset & 3) !== 0) return NOT_PLAIN;
    const header = (offset - VNET_HEADER_BYTES) >> 2;
    const first = words[header] | 0;
    if ((first & odd) !== 0) return NOT_PLAIN;
    const isPartial = (first & VNET_FLAG_NEEDS_CSUM) !== 0;
    if (isPartial && !isUsualChecksum(words, offset, length, words[header + 1], words[header + 2]))
      return NOT_PLAIN;
    ops[op + OP_REF] = slots[next + 1];
    ops[op + OP_SPAN] = length << 16;
    ops[op + OP_ARENA] = offset;
    ops[op + OP_HEAD] = length;
    responses[response] = slots[next] & 0xffff;
    responses[response + 1] = ((FLAGS >> ((first & 3) << 3)) & 0xff) | (length << 16);
    bytes = (bytes + length) | 0;
    op += OP_WORDS;
    response += RX_SLOT_WORDS;
    next += RX_SLOT_WORDS;
    if (next === end) next = 0;
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
