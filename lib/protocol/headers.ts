/** Where the headers of Ethernet frames stand: VLAN tags, IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200). */
import * as fields from './header-fields.js';

export * from './header-fields.js';

// A module's own constants are part of the compiled code; what it imports or exports is loaded and checked at each use.
const { CHAIN_HASHED, CHAIN_LEGAL, ETHERTYPE_IPV4, ETHERTYPE_IPV6, NETWORK_HEADERS_BYTES, UNKNOWN } = fields;
const { IPV4_HEADER_BYTES, IPV6_HEADER_BYTES } = fields;

const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_QINQ = 0x88a8;
const VLAN_TAGS_MAX = 2;
const ETHERNET_BYTES = 14;

// IANA, "IPv6 Extension Header Types".
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION = 60;
const MOBILITY = 135;
const HIP = 139;
const SHIM6 = 140;

/** Fragment offset and the flag "more fragments"; the two bits between them are reserved (RFC 8200 section 4.5). */
const FRAGMENT_MASK = 0xfff9;

const CHAIN_HASHED_MAX = 8;
/** Bounds the walk. An extension header has at least 8 bytes, so this many fill NETWORK_HEADERS_BYTES. */
const CHAIN_MAX = NETWORK_HEADERS_BYTES / 8;

/** Passes over up to two VLAN tags. @returns offset of the IP header | ethertype << 16 (as an int32), or 0. */
export function networkHeader(bytes: Uint8Array, start: number, length: number): number {
  let offset = ETHERNET_BYTES - 2;
  for (let tags = 0; tags <= VLAN_TAGS_MAX; tags++) {
    if (offset + 2 > length) return UNKNOWN;
    const type = be16(bytes, start + offset);
    if (type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6) return (offset + 2) | (type << 16);
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_QINQ) return UNKNOWN;
    offset += 4;
  }
  return UNKNOWN;
}

/**
 * Finds the header behind the IP header and those extension headers that `chain` passes over.
 * @param ip offset of the IP header, `type` its ethertype: both from networkHeader.
 * @param chain CHAIN_*.
 * @returns offset of the header | its protocol << 16, or 0. It may be an extension header that `chain` does not pass over.
 */
export function transportHeader(
  bytes: Uint8Array,
  start: number,
  length: number,
  ip: number,
  type: number,
  chain: number,
): number {
  return type === ETHERTYPE_IPV4
    ? transportOfIpv4(bytes, start, length, ip)
    : transportOfIpv6(bytes, start, length, ip, chain);
}

function transportOfIpv4(bytes: Uint8Array, start: number, length: number, ip: number): number {
  if (ip + IPV4_HEADER_BYTES > length) return UNKNOWN;
  const headerBytes = (bytes[start + ip] & 0x0f) * 4;
  // A fragment has no transport checksum of its own: more-fragments flag, or an offset.
  if ((be16(bytes, start + ip + 6) & 0x3fff) !== 0) return UNKNOWN;
  if (headerBytes < IPV4_HEADER_BYTES || ip + headerBytes + 8 > length) return UNKNOWN;
  return (ip + headerBytes) | (bytes[start + ip + 9] << 16);
}

function transportOfIpv6(
  bytes: Uint8Array,
  start: number,
  length: number,
  ip: number,
  chain: number,
): number {
  if (ip + IPV6_HEADER_BYTES > length) return UNKNOWN;
  const most = chain === CHAIN_HASHED ? CHAIN_HASHED_MAX : CHAIN_MAX;
  let next = bytes[start + ip + 6];
  let offset = ip + IPV6_HEADER_BYTES;
  for (let extensions = 0; extensions <= most; extensions++) {
    if (offset + 8 > length) return UNKNOWN;
    const extensionBytes = extensionOf(bytes, start + offset, next, chain);
    if (extensionBytes === 0) return offset | (next << 16);
    next = bytes[start + offset];
    offset += extensionBytes;
  }
  return UNKNOWN;
}

/** @returns bytes of the extension header of type `next` at `at`; 0 if the walk does not pass over it. */
export function extensionOf(bytes: Uint8Array, at: number, next: number, chain: number): number {
  switch (next) {
    case HOP_BY_HOP:
    case ROUTING:
    case DESTINATION:
      return (bytes[at + 1] + 1) * 8;
    case AUTHENTICATION:
      // The field counts units of 4 bytes, less 2 (RFC 4302 section 2.2).
      return chain === CHAIN_HASHED ? 0 : (bytes[at + 1] + 2) * 4;
    case FRAGMENT:
      return chain === CHAIN_HASHED || (be16(bytes, at + 2) & FRAGMENT_MASK) !== 0 ? 0 : 8;
    case MOBILITY:
    case HIP:
    case SHIM6:
      return chain === CHAIN_LEGAL ? (bytes[at + 1] + 1) * 8 : 0;
    default:
      return 0;
  }
}

export function be16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}
