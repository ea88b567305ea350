import * as netif from '../../protocol/netif.js';
import * as vnet from '../../protocol/vnet.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { VNET_FLAG_DATA_VALID, VNET_FLAG_NEEDS_CSUM } = vnet;
const { VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6 } = vnet;
const { vnetFlags, vnetGsoBytes, vnetGsoKind, vnetGsoType } = vnet;
const { GSO_TYPE_NONE, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6 } = netif;
const { RX_FLAG_CSUM_BLANK, RX_FLAG_DATA_VALIDATED } = netif;

/** Stands for a GSO kind that netif does not have: UDP's. */
export const GSO_UNNAMED = 0xffffffff;

/** @returns RX_FLAG_* for a frame. @param first word of its vnet header. */
export function rxFlagsOf(first: number): number {
  const flags = vnetFlags(first);
  // A frame with a partial checksum is trusted by definition. Without data_validated on a GSO frame, Windows is slow, with or without a
  // partial checksum, and Linux repairs the frames one by one (mirage-net-xen #122, #123).
  if ((flags & VNET_FLAG_NEEDS_CSUM) !== 0) return RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED;
  const segmented = vnetGsoType(first) !== VNET_GSO_NONE;
  return segmented || (flags & VNET_FLAG_DATA_VALID) !== 0 ? RX_FLAG_DATA_VALIDATED : 0;
}

/** @returns GSO_TYPE_* | segment size << 16 of a frame for the guest, or GSO_UNNAMED. @param first and second word of its vnet header. */
export function rxGsoOf(first: number, second: number): number {
  const kind = vnetGsoKind(first);
  if (kind === VNET_GSO_NONE) return GSO_TYPE_NONE;
  const size = vnetGsoBytes(second) << 16;
  if (kind === VNET_GSO_TCPV4) return (GSO_TYPE_TCPV4 | size) >>> 0;
  return kind === VNET_GSO_TCPV6 ? (GSO_TYPE_TCPV6 | size) >>> 0 : GSO_UNNAMED;
}
