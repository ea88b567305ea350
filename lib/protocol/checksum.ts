/** Where checksums stand in Ethernet frames, and the sums themselves (RFC 1071, RFC 8200 section 8.1). */
import * as headers from './headers.js';

// A module's own constants are part of the compiled code; what it imports or exports is loaded and checked at each use.
const { be16, networkHeader, transportHeader } = headers;
const { CHAIN_LEGAL, CHAIN_NETFRONT, ETHERTYPE_IPV4, ETHERTYPE_IPV6, UNKNOWN } = headers;
const { IPV6_HEADER_BYTES, NETWORK_HEADERS_BYTES, PROTOCOL_TCP, PROTOCOL_UDP } = headers;
const { TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES, UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } = headers;

const ETHERNET_BYTES = 14;
/** Behind an Ethernet header and an IPv4 header without options. */
const USUAL_TRANSPORT = 34;
/** A protocol, and the checksum's place in its header << 8. */
const USUAL_TCP = PROTOCOL_TCP | (TCP_CHECKSUM_OFFSET << 8);
const USUAL_UDP = PROTOCOL_UDP | (UDP_CHECKSUM_OFFSET << 8);
/** The length field of that IPv4 header. */
const USUAL_LENGTH = 16;

/**
 * Finds the transport checksum of TCP or UDP over IPv4 or IPv6, behind up to two VLAN tags and up to 32 extension headers.
 * @param start of the frame in `bytes`; `length`: how many of its bytes may be read. HEADERS_BYTES suffice for each frame that Linux's
 *   netback sends.
 * @returns csumStart | csumOffset << 16 as virtio_net_hdr counts them (from the frame's start), or 0.
 */
export function locateChecksum(bytes: Uint8Array, start: number, length: number): number {
  const network = networkHeader(bytes, start, length);
  if (network === UNKNOWN) return UNKNOWN;
  return locateBehind(bytes, start, length, network & 0xffff, network >>> 16, CHAIN_LEGAL);
}

/**
 * Finds the checksum where Linux's netfront does (skb_checksum_setup in net/core/skbuff.c): in an untagged frame, behind extension headers
 * that Linux knows. A netfront that finds none drops a frame with a partial checksum. Stricter than Linux: all headers must be in the
 * first 256 bytes of the frame, which netfront copies into its linear part (RX_COPY_THRESHOLD in xen-netfront.c).
 * @returns as locateChecksum.
 */
export function locateAsNetfront(bytes: Uint8Array, start: number, length: number): number {
  const looked = Math.min(length, NETWORK_HEADERS_BYTES);
  if (ETHERNET_BYTES > looked) return UNKNOWN;
  const type = be16(bytes, start + ETHERNET_BYTES - 2);
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return UNKNOWN;
  const where = locateBehind(bytes, start, looked, ETHERNET_BYTES, type, CHAIN_NETFRONT);
  if (type === ETHERTYPE_IPV4 || where === UNKNOWN) return where;
  // Linux follows the chain to the end of the payload by its length field, which is 0 for a datagram of more than 64 KiB.
  const end = ETHERNET_BYTES + IPV6_HEADER_BYTES + be16(bytes, start + ETHERNET_BYTES + 4);
  return (where & 0xffff) <= end ? where : UNKNOWN;
}

function locateBehind(
  bytes: Uint8Array,
  start: number,
  length: number,
  ip: number,
  type: number,
  chain: number,
): number {
  if (ip >= length || bytes[start + ip] >>> 4 !== (type === ETHERTYPE_IPV4 ? 4 : 6)) return UNKNOWN;
  const transport = transportHeader(bytes, start, length, ip, type, chain);
  return placeOf(transport & 0xffff, transport >>> 16, length);
}

/** @returns as locateChecksum; 0 for a header that ends beyond `length`. */
function placeOf(transport: number, protocol: number, length: number): number {
  if (protocol === PROTOCOL_TCP)
    return transport + TCP_HEADER_BYTES > length ? UNKNOWN : transport | (TCP_CHECKSUM_OFFSET << 16);
  if (protocol === PROTOCOL_UDP)
    return transport + UDP_HEADER_BYTES > length ? UNKNOWN : transport | (UDP_CHECKSUM_OFFSET << 16);
  return UNKNOWN;
}

/**
 * `locateChecksum` for the most frequent kind of frame: TCP or UDP over IPv4, without VLAN tag, options or fragments. Reads two words where
 * `locateChecksum` reads bytes.
 * @param words the memory of the frame, which must start at a multiple of 4.
 * @returns 0 for any other frame: call `locateChecksum`.
 */
export function locateUsualChecksum(words: Uint32Array, start: number, length: number): number {
  const word = (start + 12) >>> 2;
  // Little-endian: ethertype 0x0800, version 4 and a header of 5 words.
  if (length < USUAL_TRANSPORT + UDP_HEADER_BYTES || (words[word] & 0xffffff) !== 0x450008) return UNKNOWN;
  const last = words[word + 2];
  // As in transportOfIpv4: more fragments, or an offset.
  if ((last & 0xff3f) !== 0) return UNKNOWN;
  return placeOf(USUAL_TRANSPORT, last >>> 24, length);
}

/**
 * Whether a vnet header names the checksum that `locateUsualChecksum` finds. It reads and compares less than that.
 * @param second and third word of the vnet header.
 */
export function isUsualChecksum(
  words: Uint32Array,
  start: number,
  length: number,
  second: number,
  third: number,
): boolean {
  const word = (start + 12) >>> 2;
  const last = words[word + 2];
  // One comparison for csum_start, ethertype and version, and fragments; see `locateUsualChecksum`.
  const isOther =
    ((second >>> 16) ^ USUAL_TRANSPORT) | ((words[word] & 0xffffff) ^ 0x450008) | (last & 0xff3f);
  if (isOther !== 0) return false;
  const place = (last >>> 24) | ((third & 0xffff) << 8);
  if (place === USUAL_TCP) return length >= USUAL_TRANSPORT + TCP_HEADER_BYTES;
  return place === USUAL_UDP && length >= USUAL_TRANSPORT + UDP_HEADER_BYTES;
}

/**
 * Whether the length in a frame's IP header leaves the TCP or UDP header inside the datagram, and the datagram inside the frame. Bytes behind
 * the datagram are padding. A length of 0 passes: some frontends send it with GSO, and IPv6 has 0 beyond 64 KiB.
 * @param network the result of networkHeader; `where`: the result of locateChecksum.
 */
export function lengthsHold(
  bytes: Uint8Array,
  start: number,
  frameBytes: number,
  network: number,
  where: number,
): boolean {
  const ip = network & 0xffff;
  const isIpv4 = network >>> 16 === ETHERTYPE_IPV4;
  const length = be16(bytes, start + ip + (isIpv4 ? 2 : 4));
  if (length === 0) return true;
  const end = ip + (isIpv4 ? 0 : IPV6_HEADER_BYTES) + length;
  const headerBytes = where >>> 16 === TCP_CHECKSUM_OFFSET ? TCP_HEADER_BYTES : UDP_HEADER_BYTES;
  return end <= frameBytes && end >= (where & 0xffff) + headerBytes;
}

/**
 * `lengthsHold` for a frame in which `locateUsualChecksum` found `where`.
 * @returns false for any other frame, and if the length is 0: call `lengthsHold`.
 */
export function usualLengthHolds(
  words: Uint32Array,
  start: number,
  frameBytes: number,
  where: number,
): boolean {
  const word = words[(start + USUAL_LENGTH) >>> 2];
  const end = ETHERNET_BYTES + (((word & 0xff) << 8) | ((word >>> 8) & 0xff));
  const headerBytes = where >>> 16 === TCP_CHECKSUM_OFFSET ? TCP_HEADER_BYTES : UDP_HEADER_BYTES;
  return end <= frameBytes && end >= USUAL_TRANSPORT + headerBytes;
}

/**
 * @param length how many of its bytes may be read; `frameBytes`: how many the whole frame has.
 * @returns bytes from the frame's start to the end of its TCP header; 0 when that is shorter than a TCP header can be or is
 *   not in the frame.
 */
export function tcpHeaderEnd(
  bytes: Uint8Array,
  start: number,
  length: number,
  csumStart: number,
  frameBytes = length,
): number {
  if (csumStart + TCP_HEADER_BYTES > length) return 0;
  const headerBytes = (bytes[start + csumStart + 12] >>> 4) * 4;
  const end = csumStart + headerBytes;
  return headerBytes >= TCP_HEADER_BYTES && end <= frameBytes ? end : 0;
}

/**
 * Writes the sum of the pseudo header to the checksum's place, which makes it a partial checksum for the reader that completes it. `where`:
 * the result of locateChecksum; `frameBytes`: the whole frame's length.
 */
export function writePseudoChecksum(
  bytes: Uint8Array,
  start: number,
  where: number,
  frameBytes: number,
): void {
  const network = networkHeader(bytes, start, where & 0xffff);
  writePseudoOf(bytes, start, network & 0xffff, network >>> 16 === ETHERTYPE_IPV4, where, frameBytes);
}

/** Does what `writePseudoChecksum` does, for a frame whose IP header is at `ip`. */
export function writePseudoOf(
  bytes: Uint8Array,
  start: number,
  ip: number,
  isIpv4: boolean,
  where: number,
  frameBytes: number,
): void {
  const transport = where & 0xffff;
  const offset = where >>> 16;
  const protocol = offset === TCP_CHECKSUM_OFFSET ? PROTOCOL_TCP : PROTOCOL_UDP;
  const payload = frameBytes - transport;
  const addresses = isIpv4 ? sumBytes(bytes, start + ip + 12, 8) : sumBytes(bytes, start + ip + 8, 32);
  const sum = fold(addresses + protocol + (payload & 0xffff) + (payload >>> 16));
  put16(bytes, start + transport + offset, sum);
}

/**
 * Changes a partial checksum over a transport length of `before` bytes into one over `after` bytes.
 * @param at where it stands in `bytes`.
 */
export function adjustPseudoChecksum(bytes: Uint8Array, at: number, before: number, after: number): void {
  put16(bytes, at, fold(be16(bytes, at) + (~fold(before) & 0xffff) + fold(after)));
}

/**
 * Completes a partial checksum over [csumStart, frameBytes), for a reader that cannot do it itself.
 * UDP's zero means "none", so a computed zero is sent as all ones.
 * @returns false if the checksum's place is not in the frame; the frame stays as it was.
 */
export function completeChecksum(
  bytes: Uint8Array,
  start: number,
  frameBytes: number,
  csumStart: number,
  csumOffset: number,
): boolean {
  if (csumStart + csumOffset + 2 > frameBytes) return false;
  const sum = ~fold(sumBytes(bytes, start + csumStart, frameBytes - csumStart)) & 0xffff;
  const value = sum === 0 && csumOffset === UDP_CHECKSUM_OFFSET ? 0xffff : sum;
  put16(bytes, start + csumStart + csumOffset, value);
  return true;
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

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}
