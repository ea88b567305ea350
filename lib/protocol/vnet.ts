/**
 * `struct virtio_net_hdr_v1` (linux/virtio_net.h), which lies in front of each frame of a port: the work that the frame's sender left to the
 * reader, and how to do it. Little-endian, in three words:
 * [flags u8, gso_type u8, hdr_len u16] [gso_size u16, csum_start u16] [csum_offset u16, num_buffers u16].
 * `csum_start` counts from the frame's first byte and `csum_offset` from there. num_buffers is always 0: no frame is in several buffers.
 */
export const VNET_HEADER_BYTES = 12;
// A module's own constants are part of the compiled code; what it exports is loaded and checked at each use.
const HEADER_BYTES = VNET_HEADER_BYTES;
/** Flag of a virtio_net_hdr: the reader has to complete the checksum, from csum_start on. */
export const VNET_FLAG_NEEDS_CSUM = 1;
/** Flag of a virtio_net_hdr: the checksum was verified, so that the reader need not. */
export const VNET_FLAG_DATA_VALID = 2;
/** gso_type of a virtio_net_hdr: the frame is no segment to be cut. */
export const VNET_GSO_NONE = 0;
/** gso_type of a virtio_net_hdr: TCP over IPv4, to be cut into segments of gso_size bytes of payload. */
export const VNET_GSO_TCPV4 = 1;
/** gso_type of a virtio_net_hdr: TCP over IPv6, to be cut into segments of gso_size bytes of payload. */
export const VNET_GSO_TCPV6 = 4;
/**
 * UDP in datagrams of gso_size bytes of payload. netif has no such kind, and vifd's own ports do not offer it; the backend segments such
 * frames of a port of your own.
 */
export const VNET_GSO_UDP_L4 = 5;
/** Added to one of TCP's: the first segment has CWR (RFC 3168), and no other may have it. */
export const VNET_GSO_ECN = 0x80;

/**
 * Word `index` (0, 1 or 2) of the header in front of `offset`, which is a multiple of 2 and not always of 4: a long frame lies as its guest's
 * pages do.
 */
export function vnetWord(words: Uint32Array, offset: number, index: number): number {
  const at = ((offset - HEADER_BYTES) >>> 2) + index;
  return offset % 4 === 0 ? words[at] : (words[at] >>> 16) | (words[at + 1] << 16);
}

/** Writes the header in front of `offset`, a multiple of 2. */
export function writeVnet(
  words: Uint32Array,
  offset: number,
  first: number,
  second: number,
  third: number,
): void {
  const at = (offset - HEADER_BYTES) >>> 2;
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

/** As `vnetWord`, of a header that begins with byte `at`, wherever that is in memory. */
export function vnetWordOfBytes(bytes: Uint8Array, at: number, index: number): number {
  const from = at + index * 4;
  return bytes[from] | (bytes[from + 1] << 8) | (bytes[from + 2] << 16) | (bytes[from + 3] << 24);
}

/** As `writeVnet`, with the header at byte `at`, wherever that is in memory. */
export function writeVnetBytes(
  bytes: Uint8Array,
  at: number,
  first: number,
  second: number,
  third: number,
): void {
  writeBytes(bytes, at, first);
  writeBytes(bytes, at + 4, second);
  writeBytes(bytes, at + 8, third);
}

function writeBytes(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
}

/** VNET_FLAG_*. */
export function vnetFlags(first: number): number {
  return first & 0xff;
}

/** VNET_GSO_*, with VNET_GSO_ECN. */
export function vnetGsoType(first: number): number {
  return (first >>> 8) & 0xff;
}

/** VNET_GSO_*, without VNET_GSO_ECN. */
export function vnetGsoKind(first: number): number {
  return (first >>> 8) & 0xff & ~VNET_GSO_ECN;
}

/** `hdr_len`: the frame's bytes in front of its payload. */
export function vnetHeaderBytes(first: number): number {
  return first >>> 16;
}

/** `gso_size`: the payload's bytes of a segment. */
export function vnetGsoBytes(second: number): number {
  return second & 0xffff;
}

/** `csum_start`, in bytes. */
export function vnetCsumStart(second: number): number {
  return second >>> 16;
}

/** `csum_offset`, in bytes. */
export function vnetCsumOffset(third: number): number {
  return third & 0xffff;
}

/** csum_start | csum_offset << 16, as `locateChecksum` has it. */
export function vnetChecksum(second: number, third: number): number {
  return (second >>> 16) | (third << 16);
}

/** The first word. */
export function vnetFirst(flags: number, gsoType: number, headerBytes: number): number {
  return flags | (gsoType << 8) | (headerBytes << 16);
}

/** The second word. */
export function vnetSecond(gsoBytes: number, csumStart: number): number {
  return gsoBytes | (csumStart << 16);
}
