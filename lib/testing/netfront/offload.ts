import {
  FRAME_BYTES_MIN,
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

/** @returns GSO_TYPE_*, for which a frontend writes an extra slot. @param kind VNET_GSO_*, without VNET_GSO_ECN, which netif lacks. */
export function gsoTypeOf(kind: number): number {
  if (kind === VNET_GSO_TCPV4) return GSO_TYPE_TCPV4;
  return kind === VNET_GSO_TCPV6 ? GSO_TYPE_TCPV6 : GSO_TYPE_NONE;
}

/** @returns TX_FLAG_* for VNET_FLAG_*. */
export function checksumFlags(vnetFlags: number): number {
  if ((vnetFlags & VNET_FLAG_NEEDS_CSUM) !== 0) return TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED;
  return (vnetFlags & VNET_FLAG_DATA_VALID) !== 0 ? TX_FLAG_DATA_VALIDATED : 0;
}

/** @returns VNET_GSO_* for GSO_TYPE_*. */
export function gsoKindOf(gsoType: number): number {
  if (gsoType === GSO_TYPE_TCPV4) return VNET_GSO_TCPV4;
  return gsoType === GSO_TYPE_TCPV6 ? VNET_GSO_TCPV6 : 0;
}

export function isIpv6(bytes: Uint8Array, start: number): boolean {
  return (bytes[start + 12] as number) === 0x86 && (bytes[start + 13] as number) === 0xdd;
}

/** The size field has 16 bits: Linux drops longer frames, too. */
export function fits(length: number): boolean {
  return length >= FRAME_BYTES_MIN && length <= 0xffff;
}
