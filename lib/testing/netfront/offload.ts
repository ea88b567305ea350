/** What virtio_net_hdr and netif say of the same frame. */

import {
  GSO_TYPE_NONE,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_DATA_VALIDATED,
} from '../../protocol/netif.js';
import {
  VNET_FLAG_DATA_VALID,
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
} from '../../protocol/vnet.js';

/** @param vnetType gso_type of a virtio_net_hdr in the low byte; its high bit says ECN and concerns nobody here. */
export function gsoTypeOf(vnetType: number): number {
  const type = vnetType & 0x7f;
  if (type === VNET_GSO_TCPV4) return GSO_TYPE_TCPV4;
  return type === VNET_GSO_TCPV6 ? GSO_TYPE_TCPV6 : GSO_TYPE_NONE;
}

export function checksumFlags(vnetFlags: number): number {
  if ((vnetFlags & VNET_FLAG_NEEDS_CSUM) !== 0) return TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED;
  return (vnetFlags & VNET_FLAG_DATA_VALID) !== 0 ? TX_FLAG_DATA_VALIDATED : 0;
}

export function vnetGsoType(gsoType: number): number {
  if (gsoType === GSO_TYPE_TCPV4) return VNET_GSO_TCPV4;
  return gsoType === GSO_TYPE_TCPV6 ? VNET_GSO_TCPV6 : 0;
}

export function isIpv6(bytes: Uint8Array, start: number): boolean {
  return (bytes[start + 12] as number) === 0x86 && (bytes[start + 13] as number) === 0xdd;
}
