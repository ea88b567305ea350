import * as control from './control.js';
import { CHAIN_HASHED, networkHeader, transportHeader } from './headers.js';
import { addToeplitz } from './toeplitz.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { HASH_TYPE_IPV4, HASH_TYPE_IPV4_TCP, HASH_TYPE_IPV6, HASH_TYPE_IPV6_TCP } = control;

const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_TCP = 6;
const IPV4_ADDRESSES = 12;
const IPV4_ADDRESSES_BYTES = 8;
const IPV4_HEADER_BYTES = 20;
const IPV6_ADDRESSES = 8;
const IPV6_ADDRESSES_BYTES = 32;
const IPV6_HEADER_BYTES = 40;
const PORTS_BYTES = 4;

/** Neither addresses nor ports of the frame are hashed. */
export const NO_HASH = 0;

/**
 * Determines what to hash of a frame: as much as the guest asks for and the frame has. A fragment has no ports, and neither has a frame whose
 * headers contradict each other. VLAN tags are passed over, and a bounded chain of IPv6 extensions.
 * @param start of the frame in `bytes`; its headers are in the first `length` of its bytes.
 * @param wanted HASH_TYPE_* that the guest asks for, as bits.
 * @returns one HASH_TYPE_* | offset of the IP header << 8 | offset of the TCP header << 16; or NO_HASH.
 */
export function flowOf(bytes: Uint8Array, start: number, length: number, wanted: number): number {
  const network = networkHeader(bytes, start, length);
  if (network === 0) return NO_HASH;
  const ip = network & 0xffff;
  const isIpv4 = network >>> 16 === ETHERTYPE_IPV4;
  if (ip + (isIpv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES) > length) return NO_HASH;
  const withPorts = wanted & (isIpv4 ? HASH_TYPE_IPV4_TCP : HASH_TYPE_IPV6_TCP);
  if (withPorts !== 0) {
    const transport = transportHeader(bytes, start, length, ip, network >>> 16, CHAIN_HASHED);
    if (transport >>> 16 === PROTOCOL_TCP) return withPorts | (ip << 8) | (transport << 16);
  }
  const addresses = wanted & (isIpv4 ? HASH_TYPE_IPV4 : HASH_TYPE_IPV6);
  return addresses === 0 ? NO_HASH : addresses | (ip << 8);
}

/**
 * @param flow as `flowOf` gives it for the same frame; not NO_HASH.
 * @param table of `fillToeplitz`.
 * @returns its hash, a u32.
 */
export function hashOfFlow(table: Uint32Array, bytes: Uint8Array, start: number, flow: number): number {
  const isIpv4 = (flow & (HASH_TYPE_IPV4 | HASH_TYPE_IPV4_TCP)) !== 0;
  const addresses = start + ((flow >>> 8) & 0xff) + (isIpv4 ? IPV4_ADDRESSES : IPV6_ADDRESSES);
  const count = isIpv4 ? IPV4_ADDRESSES_BYTES : IPV6_ADDRESSES_BYTES;
  const hash = addToeplitz(table, 0, bytes, addresses, count, 0);
  if ((flow & (HASH_TYPE_IPV4_TCP | HASH_TYPE_IPV6_TCP)) === 0) return hash >>> 0;
  return addToeplitz(table, hash, bytes, start + (flow >>> 16), PORTS_BYTES, count) >>> 0;
}
