import * as checksum from '../../protocol/checksum.js';
import * as headers from '../../protocol/headers.js';
import * as netif from '../../protocol/netif.js';
import type { Segments } from '../../protocol/segment.js';
import * as vnet from '../../protocol/vnet.js';
import type { Arena } from '../../xen/seam.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { VNET_FLAG_DATA_VALID, VNET_FLAG_NEEDS_CSUM, VNET_HEADER_BYTES } = vnet;
const { VNET_GSO_ECN, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } = vnet;
const { lengthsHold, locateChecksum, locateUsualChecksum, usualLengthHolds } = checksum;
const { tcpHeaderEnd, writePseudoChecksum } = checksum;
const { TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET } = checksum;
const { ETHERTYPE_IPV4, ETHERTYPE_IPV6, networkHeader } = headers;
const { GSO_TYPE_NONE, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6 } = netif;
const { RX_FLAG_CSUM_BLANK, RX_FLAG_DATA_VALIDATED, TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED } = netif;

/**
 * Translates offloads between netif and virtio_net_hdr. The header's words, little-endian:
 * [flags u8, gso_type u8, hdr_len u16] [gso_size u16, csum_start u16] [csum_offset u16, num_buffers u16].
 */

/** How many bytes of a frame must be readable for `describeFromGuest`. */
export const { HEADERS_BYTES } = headers;

/** TCP's flags, in its header; CWR (RFC 3168). */
const TCP_FLAGS = 13;
const TCP_CWR = 0x80;

/**
 * Writes the vnet header in front of a frame from the guest.
 * @param offset of the frame in the arena; its first `readable` bytes are there.
 * @param flags TX_FLAG_*.
 * @param gso GSO_TYPE_* | segment size << 16.
 * @returns false when the guest asks for an offload that its own headers contradict: the frame cannot be sent.
 */
export function describeFromGuest(
  arena: Arena,
  offset: number,
  size: number,
  readable: number,
  flags: number,
  gso: number,
): boolean {
  const words = arena.u32;
  if ((flags & TX_FLAG_CSUM_BLANK) === 0 && gso === GSO_TYPE_NONE) {
    writeVnet(words, offset, (flags & TX_FLAG_DATA_VALIDATED) !== 0 ? VNET_FLAG_DATA_VALID : 0, 0, 0);
    return true;
  }
  if (gso === GSO_TYPE_NONE && offset % 4 === 0) {
    const where = locateUsualChecksum(words, offset, readable);
    if (where !== 0 && usualLengthHolds(words, offset, size, where)) {
      const at = (offset - VNET_HEADER_BYTES) >>> 2;
      words[at] = VNET_FLAG_NEEDS_CSUM;
      words[at + 1] = where << 16;
      words[at + 2] = where >>> 16;
      return true;
    }
  }
  return describeOffload(arena, offset, size, readable, flags, gso);
}

/** Does what `describeFromGuest` does, for frames other than those that it knows at a glance. */
function describeOffload(
  arena: Arena,
  offset: number,
  size: number,
  readable: number,
  flags: number,
  gso: number,
): boolean {
  const { bytes, u32: words } = arena;
  const network = networkHeader(bytes, offset, readable);
  const where = locateChecksum(bytes, offset, readable);
  if (where === 0 || !lengthsHold(bytes, offset, size, network, where)) return false;
  const csumStart = where & 0xffff;
  let kind = VNET_GSO_NONE;
  let headersEnd = 0;
  let gsoBytes = 0;
  if (gso !== GSO_TYPE_NONE) {
    const isTcpv4 = (gso & 0xffff) === GSO_TYPE_TCPV4;
    if (network >>> 16 !== (isTcpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)) return false;
    if (where >>> 16 !== TCP_CHECKSUM_OFFSET) return false;
    headersEnd = tcpHeaderEnd(bytes, offset, readable, csumStart, size);
    if (headersEnd === 0) return false;
    // Segmentation rewrites checksums and needs the partial one to begin with, as Linux's netback restores it.
    if ((flags & TX_FLAG_CSUM_BLANK) === 0) writePseudoChecksum(bytes, offset, where, size);
    // A frame of one segment needs no GSO: Linux drops the GSO too (virtio_net_hdr_to_skb), and refuses some of these sizes.
    if (size - headersEnd > gso >>> 16) {
      const hasCwr = (bytes[offset + csumStart + TCP_FLAGS] & TCP_CWR) !== 0;
      kind = (isTcpv4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6) | (hasCwr ? VNET_GSO_ECN : 0);
      gsoBytes = gso >>> 16;
    } else headersEnd = 0;
  }
  const flagsAndLength = VNET_FLAG_NEEDS_CSUM | (kind << 8) | (headersEnd << 16);
  writeVnet(words, offset, flagsAndLength, gsoBytes | (csumStart << 16), where >>> 16);
  return true;
}

/** The three words in front of `offset`, a multiple of 2: long frames lie as the guest's pages suggest. */
export function writeVnet(
  words: Uint32Array,
  offset: number,
  first: number,
  second: number,
  third: number,
): void {
  const at = (offset - VNET_HEADER_BYTES) >>> 2;
  if (offset % 4 === 0) {
    words[at] = first;
    words[at + 1] = second;
    words[at + 2] = third;
    return;
  }
  words[at] = (words[at] & 0xffff) | (first << 16);
  words[at + 1] = (first >>> 16) | (second << 16);
  words[at + 2] = (second >>> 16) | (third << 16);
  words[at + 3] = (words[at + 3] & 0xffff0000) | (third >>> 16);
}

/** Word `index` of the vnet header in front of `offset`, a multiple of 2. */
export function vnetWord(words: Uint32Array, offset: number, index: number): number {
  const at = ((offset - VNET_HEADER_BYTES) >>> 2) + index;
  return offset % 4 === 0 ? words[at] : (words[at] >>> 16) | (words[at + 1] << 16);
}

/** For a GSO kind that netif has no word for: UDP's. */
export const GSO_UNNAMED = 0xffffffff;

/** @returns RX_FLAG_* for a frame. @param first word of its vnet header. */
export function rxFlagsOf(first: number): number {
  const flags = first & 0xff;
  // Frames with a partial checksum are trusted by definition; Windows is slow without data_validated on GSO, partial
  // checksum or not, and Linux mends such frames one by one (mirage-net-xen #122, #123).
  if ((flags & VNET_FLAG_NEEDS_CSUM) !== 0) return RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED;
  const segmented = ((first >>> 8) & 0xff) !== VNET_GSO_NONE;
  return segmented || (flags & VNET_FLAG_DATA_VALID) !== 0 ? RX_FLAG_DATA_VALIDATED : 0;
}

/** @returns GSO_TYPE_* | segment size << 16 of a frame for the guest, or GSO_UNNAMED. @param first and second word of its vnet header. */
export function rxGsoOf(first: number, second: number): number {
  const kind = (first >>> 8) & 0xff & ~VNET_GSO_ECN;
  if (kind === VNET_GSO_NONE) return GSO_TYPE_NONE;
  const size = second << 16;
  if (kind === VNET_GSO_TCPV4) return (GSO_TYPE_TCPV4 | size) >>> 0;
  return kind === VNET_GSO_TCPV6 ? (GSO_TYPE_TCPV6 | size) >>> 0 : GSO_UNNAMED;
}

/**
 * Plans the segments of a GSO frame that lies behind its vnet header: of TCP, or of UDP with GSO_UDP_L4 (linux/virtio_net.h).
 * @returns false if the frame cannot be cut; `segments` has no plan then.
 */
export function planOf(segments: Segments, arena: Arena, offset: number, length: number): boolean {
  const words = arena.u32;
  const first = vnetWord(words, offset, 0);
  const kind = (first >>> 8) & 0xff & ~VNET_GSO_ECN;
  const isUdp = kind === VNET_GSO_UDP_L4;
  if (!isUdp && kind !== VNET_GSO_TCPV4 && kind !== VNET_GSO_TCPV6) return false;
  const isPartial = (first & VNET_FLAG_NEEDS_CSUM) !== 0;
  const second = vnetWord(words, offset, 1);
  const csumOffset = isPartial ? vnetWord(words, offset, 2) & 0xffff : 0;
  if (isPartial && csumOffset !== (isUdp ? UDP_CHECKSUM_OFFSET : TCP_CHECKSUM_OFFSET)) return false;
  const csumStart = isPartial ? second >>> 16 : 0;
  if (!segments.plan(arena.bytes, offset, length, csumStart, csumOffset, second & 0xffff)) return false;
  return segments.isUdp === isUdp;
}
