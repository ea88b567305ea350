import * as headers from '../../protocol/headers.js';
import type { Segments } from '../../protocol/segment.js';
import * as vnet from '../../protocol/vnet.js';
import type { Arena } from '../../xen/seam.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { VNET_FLAG_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } = vnet;
const { vnetCsumOffset, vnetCsumStart, vnetGsoBytes, vnetGsoKind, vnetWord } = vnet;
const { TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET } = headers;

/**
 * Plans the segments of a GSO frame that lies behind its vnet header: of TCP, or of UDP with GSO_UDP_L4 (linux/virtio_net.h).
 * @returns false if the frame cannot be cut; `segments` has no plan then.
 */
export function planOf(segments: Segments, arena: Arena, offset: number, length: number): boolean {
  const words = arena.u32;
  const first = vnetWord(words, offset, 0);
  const kind = vnetGsoKind(first);
  const isUdp = kind === VNET_GSO_UDP_L4;
  if (!isUdp && kind !== VNET_GSO_TCPV4 && kind !== VNET_GSO_TCPV6) return false;
  const isPartial = (first & VNET_FLAG_NEEDS_CSUM) !== 0;
  const second = vnetWord(words, offset, 1);
  const csumOffset = isPartial ? vnetCsumOffset(vnetWord(words, offset, 2)) : 0;
  if (isPartial && csumOffset !== (isUdp ? UDP_CHECKSUM_OFFSET : TCP_CHECKSUM_OFFSET)) return false;
  const csumStart = isPartial ? vnetCsumStart(second) : 0;
  if (!segments.plan(arena.bytes, offset, length, csumStart, csumOffset, vnetGsoBytes(second))) return false;
  return segments.isUdp === isUdp;
}
