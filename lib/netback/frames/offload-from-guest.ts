import * as checksum from '../../protocol/checksum.js';
import * as headers from '../../protocol/headers.js';
import * as netif from '../../protocol/netif.js';
import * as vnet from '../../protocol/vnet.js';
import type { Arena } from '../../xen/seam.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { VNET_FLAG_DATA_VALID, VNET_FLAG_NEEDS_CSUM } = vnet;
const { VNET_GSO_ECN, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6 } = vnet;
const { vnetFirst, vnetSecond, writeVnet } = vnet;
const { lengthsHold, locateChecksum, locateUsualChecksum, usualLengthHolds } = checksum;
const { tcpHeaderEnd, writePseudoChecksum } = checksum;
const { ETHERTYPE_IPV4, ETHERTYPE_IPV6, networkHeader, TCP_CHECKSUM_OFFSET } = headers;
const { GSO_TYPE_NONE, GSO_TYPE_TCPV4 } = netif;
const { TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED } = netif;

/** TCP's flags, in its header; CWR (RFC 3168). */
const TCP_FLAGS = 13;
const TCP_CWR = 0x80;

/**
 * Writes the vnet header in front of a frame from the guest: translates the offload that netif's slots ask for.
 * @param offset of the frame in the arena, which has its first `readable` bytes; HEADERS_BYTES bytes suffice.
 * @param flags TX_FLAG_*.
 * @param gso GSO_TYPE_* | segment size << 16.
 * @returns false if the frame's headers contradict the offload that the guest asks for: the frame cannot be sent.
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
      writeVnet(words, offset, VNET_FLAG_NEEDS_CSUM, where << 16, where >>> 16);
      return true;
    }
  }
  return describeOffload(arena, offset, size, readable, flags, gso);
}

/** As `describeFromGuest`, for frames other than the common kinds that `describeFromGuest` handles itself. */
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
    // Segmentation updates checksums and needs the partial one as a start; Linux's netback restores it too.
    if ((flags & TX_FLAG_CSUM_BLANK) === 0) writePseudoChecksum(bytes, offset, where, size);
    // A frame of one segment needs no GSO: Linux drops the GSO too (virtio_net_hdr_to_skb), and refuses some of these sizes.
    if (size - headersEnd > gso >>> 16) {
      const hasCwr = (bytes[offset + csumStart + TCP_FLAGS] & TCP_CWR) !== 0;
      kind = (isTcpv4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6) | (hasCwr ? VNET_GSO_ECN : 0);
      gsoBytes = gso >>> 16;
    } else headersEnd = 0;
  }
  const first = vnetFirst(VNET_FLAG_NEEDS_CSUM, kind, headersEnd);
  writeVnet(words, offset, first, vnetSecond(gsoBytes, csumStart), where >>> 16);
  return true;
}
