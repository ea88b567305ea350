/** Where checksums stand in Ethernet frames, and the sums themselves (RFC 1071, RFC 8200 section 8.1). */

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_QINQ = 0x88a8;
const VLAN_TAGS_MAX = 2;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
/** IPv6 extension headers that may stand before the transport header: hop-by-hop, routing, destination. */
const IPV6_EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 60]);
const IPV6_EXTENSIONS_MAX = 8;
const TCP_CHECKSUM_OFFSET = 16;
const UDP_CHECKSUM_OFFSET = 6;
/** Behind an Ethernet header and an IPv4 header without options. */
const USUAL_TRANSPORT = 34;

/** Not a frame whose transport checksum we know how to find. */
const UNKNOWN = 0;

/**
 * Finds the transport checksum of TCP or UDP over IPv4 or IPv6.
 * @param start of the frame in `bytes`; `length` of its bytes that may be read (headers suffice).
 * @returns csumStart | csumOffset << 16 as virtio_net_hdr counts them (from the frame's start), or 0.
 */
export function locateChecksum(bytes: Uint8Array, start: number, length: number): number {
  const network = networkHeader(bytes, start, length);
  if (network === UNKNOWN) return UNKNOWN;
  const transport = transportHeader(bytes, start, length, network & 0xffff, network >>> 16);
  return placeOf(transport & 0xffff, transport >>> 16);
}

/** @returns as locateChecksum. */
function placeOf(transport: number, protocol: number): number {
  if (protocol === PROTOCOL_TCP) return transport | (TCP_CHECKSUM_OFFSET << 16);
  if (protocol === PROTOCOL_UDP) return transport | (UDP_CHECKSUM_OFFSET << 16);
  return UNKNOWN;
}

/**
 * `locateChecksum` for the frame that nearly all are: TCP or UDP over IPv4, without VLAN tag, options or fragments.
 * It reads two words where that reads bytes.
 * @param words what holds the frame, which must start at a multiple of 4.
 * @returns 0 for any other frame: ask `locateChecksum`.
 */
export function locateUsualChecksum(words: Uint32Array, start: number, length: number): number {
  const word = (start + 12) >>> 2;
  // Little-endian: ethertype 0x0800, version 4 and a header of 5 words.
  if (length < USUAL_TRANSPORT + 8 || (words[word] & 0xffffff) !== 0x450008) return UNKNOWN;
  const last = words[word + 2];
  // As in transportOfIpv4: more fragments, or an offset.
  if ((last & 0xff3f) !== 0) return UNKNOWN;
  return placeOf(USUAL_TRANSPORT, last >>> 24);
}

/** @returns offset of the IP header | ethertype << 16 (as an int32), or 0. */
export function networkHeader(bytes: Uint8Array, start: number, length: number): number {
  let offset = 12;
  for (let tags = 0; tags <= VLAN_TAGS_MAX; tags++) {
    if (offset + 2 > length) return UNKNOWN;
    const type = be16(bytes, start + offset);
    if (type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6) return (offset + 2) | (type << 16);
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_QINQ) return UNKNOWN;
    offset += 4;
  }
  return UNKNOWN;
}

/** @returns offset of the transport header | protocol << 16, or 0. */
export function transportHeader(
  bytes: Uint8Array,
  start: number,
  length: number,
  ip: number,
  type: number,
): number {
  return type === ETHERTYPE_IPV4
    ? transportOfIpv4(bytes, start, length, ip)
    : transportOfIpv6(bytes, start, length, ip);
}

function transportOfIpv4(bytes: Uint8Array, start: number, length: number, ip: number): number {
  if (ip + 20 > length) return UNKNOWN;
  const headerBytes = (bytes[start + ip] & 0x0f) * 4;
  // A fragment has no transport checksum of its own: more-fragments flag, or an offset.
  if ((be16(bytes, start + ip + 6) & 0x3fff) !== 0) return UNKNOWN;
  if (headerBytes < 20 || ip + headerBytes + 8 > length) return UNKNOWN;
  return (ip + headerBytes) | (bytes[start + ip + 9] << 16);
}

function transportOfIpv6(bytes: Uint8Array, start: number, length: number, ip: number): number {
  if (ip + 40 > length) return UNKNOWN;
  let next = bytes[start + ip + 6];
  let offset = ip + 40;
  for (let extensions = 0; extensions <= IPV6_EXTENSIONS_MAX; extensions++) {
    if (offset + 8 > length) return UNKNOWN;
    if (!IPV6_EXTENSIONS.has(next)) return offset | (next << 16);
    next = bytes[start + offset];
    offset += (bytes[start + offset + 1] + 1) * 8;
  }
  return UNKNOWN;
}

/** @returns bytes from the frame's start to the end of its TCP header, or 0 when it is not inside `length`. */
export function tcpHeaderEnd(bytes: Uint8Array, start: number, length: number, csumStart: number): number {
  if (csumStart + 20 > length) return 0;
  const end = csumStart + (bytes[start + csumStart + 12] >>> 4) * 4;
  return end <= length ? end : 0;
}

/**
 * Puts the sum of the pseudo header where the checksum will be: what "partial checksum" means to whoever
 * completes it. `where` as locateChecksum gives it; `frameBytes` is the whole frame's length.
 */
export function writePseudoChecksum(
  bytes: Uint8Array,
  start: number,
  where: number,
  frameBytes: number,
): void {
  const transport = where & 0xffff;
  const offset = where >>> 16;
  const protocol = offset === TCP_CHECKSUM_OFFSET ? PROTOCOL_TCP : PROTOCOL_UDP;
  const network = networkHeader(bytes, start, transport);
  const ip = network & 0xffff;
  const addresses = network >>> 16 === ETHERTYPE_IPV4 ? ip + 12 : ip + 8;
  const addressBytes = network >>> 16 === ETHERTYPE_IPV4 ? 8 : 32;
  const payload = frameBytes - transport;
  const sum = fold(
    sumBytes(bytes, start + addresses, addressBytes) + protocol + (payload & 0xffff) + (payload >>> 16),
  );
  const at = start + transport + offset;
  bytes[at] = sum >>> 8;
  bytes[at + 1] = sum & 0xff;
}

/**
 * Completes a partial checksum over [csumStart, frameBytes), for a reader that cannot do it itself.
 * UDP's zero means "none", so a computed zero is sent as all ones.
 */
export function completeChecksum(
  bytes: Uint8Array,
  start: number,
  frameBytes: number,
  csumStart: number,
  csumOffset: number,
): void {
  if (csumStart + csumOffset + 2 > frameBytes) return;
  const sum = ~fold(sumBytes(bytes, start + csumStart, frameBytes - csumStart)) & 0xffff;
  const value = sum === 0 && csumOffset === UDP_CHECKSUM_OFFSET ? 0xffff : sum;
  bytes[start + csumStart + csumOffset] = value >>> 8;
  bytes[start + csumStart + csumOffset + 1] = value & 0xff;
}

/** One's complement sum of big-endian words, unfolded; exact for a frame's length. */
function sumBytes(bytes: Uint8Array, from: number, count: number): number {
  let sum = 0;
  const even = from + (count & ~1);
  for (let i = from; i < even; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  return (count & 1) !== 0 ? sum + (bytes[even] << 8) : sum;
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

function be16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}
