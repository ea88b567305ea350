import { locateChecksum } from '../../protocol/checksum.js';
import { TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES } from '../../protocol/headers.js';
import * as vnet from '../../protocol/vnet.js';
import type { Arena } from '../../xen/seam.js';

const { VNET_FLAG_NEEDS_CSUM } = vnet;
const { vnetCsumOffset, vnetCsumStart, vnetFlags, vnetGsoBytes, vnetGsoType, vnetHeaderBytes } = vnet;
const { vnetFirst, vnetSecond, vnetWord, writeVnet } = vnet;

/** The new frame lacks the TCP or UDP header of the old one: the hook made another frame, with a checksum of its own. */
const NOWHERE = -1;

/**
 * Updates the offload of a frame whose bytes a hook replaces: moves csum_start with the TCP or UDP header, for example when the hook adds or
 * removes a tag or a tunnel. Clears the offload if the new frame does not have that header.
 * @param offset of the frame, which still has its `before` old bytes.
 * @param bytes the new bytes, `after` of them.
 */
export function moveOffload(
  arena: Arena,
  offset: number,
  before: number,
  bytes: Uint8Array,
  after: number,
): void {
  const words = arena.u32;
  const first = vnetWord(words, offset, 0);
  if ((first & VNET_FLAG_NEEDS_CSUM) === 0) return;
  const second = vnetWord(words, offset, 1);
  const third = vnetWord(words, offset, 2);
  const csumStart = vnetCsumStart(second);
  const moved = placeOf(arena.bytes, offset, csumStart, vnetCsumOffset(third), before, bytes, after);
  if (moved === csumStart) return;
  if (moved === NOWHERE) {
    writeVnet(words, offset, 0, 0, 0);
    return;
  }
  // hdr_len, the offset of the payload, moves by the same distance.
  const old = vnetHeaderBytes(first);
  const headerBytes = old === 0 ? 0 : Math.max(0, old + moved - csumStart);
  const moves = vnetFirst(vnetFlags(first), vnetGsoType(first), headerBytes);
  writeVnet(words, offset, moves, vnetSecond(vnetGsoBytes(second), moved), third);
}

/** @returns where the header with the checksum is in the new frame, or NOWHERE. */
function placeOf(
  old: Uint8Array,
  offset: number,
  csumStart: number,
  csumOffset: number,
  before: number,
  bytes: Uint8Array,
  after: number,
): number {
  const count = csumOffset === TCP_CHECKSUM_OFFSET ? TCP_HEADER_BYTES : csumOffset + 2;
  if (csumStart + count > before) return NOWHERE;
  const shifted = csumStart + after - before;
  for (const place of [shifted, csumStart]) {
    if (place < 0 || place + count > after) continue;
    let same = 0;
    while (same < count && bytes[place + same] === old[offset + csumStart + same]) same++;
    if (same === count) return place;
  }
  const where = locateChecksum(bytes, 0, after);
  return where >>> 16 === csumOffset && where !== 0 ? where & 0xffff : NOWHERE;
}
