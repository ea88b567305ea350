import { VNET_FLAG_NEEDS_CSUM, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_HEADER_BYTES } from '../ports/types.js';
import { completeChecksum, locateChecksum, writePseudoChecksum } from '../protocol/checksum.js';
import { Xorshift } from './random.js';

/**
 * Frames whose every byte follows from a seed and a number: Ethernet, IPv4, UDP or (for GSO) TCP, then magic, seed
 * and number, then a piece of a fixed pattern. Real headers, since backends look for the checksum in them.
 */

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;
const TCP_BYTES = 20;
const TAG_BYTES = 12;
const MAGIC = 0x76696664;
const TRANSPORT = ETHERNET_BYTES + IPV4_BYTES;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;

/** Shortest frame that can carry the tag. */
export const TRAFFIC_BYTES_MIN = TRANSPORT + UDP_BYTES + TAG_BYTES;
/** The IPv4 length field has 16 bits, and netif's size field counts the Ethernet header, too. */
export const TRAFFIC_BYTES_MAX = 65535;
/** A longer frame is a GSO frame. */
export const TRAFFIC_MTU_BYTES = 1514;
/** Payload of a segment of a GSO frame. */
const SEGMENT_BYTES = 1448;

/** As many as patternStart gives. */
const PATTERN_STARTS = 1 << 16;
const HEADERS_BYTES_MAX = TRANSPORT + TCP_BYTES + TAG_BYTES;

/** What a frame says of itself. */
export interface TrafficTag {
  seed: number;
  sequence: number;
}

/** Makes and knows the frames of one seed. */
export class TrafficFrames {
  readonly seed: number;
  readonly #pattern: Uint8Array;
  readonly #scratch = new Uint8Array(HEADERS_BYTES_MAX);
  /** A frame for comparing whose checksum was completed on the way. */
  readonly #whole = new Uint8Array(TRAFFIC_BYTES_MAX);

  constructor(seed: number) {
    this.seed = seed >>> 0;
    const words = new Uint32Array((PATTERN_STARTS + TRAFFIC_BYTES_MAX + 1) >>> 2);
    const random = new Xorshift(seed);
    for (let i = 0; i < words.length; i++) words[i] = random.next();
    this.#pattern = new Uint8Array(words.buffer);
  }

  /**
   * Writes frame `sequence` at `start` and its vnet header in front; `start` is a multiple of 4.
   * @param partial leaves the checksum to whoever is next. Always so for GSO.
   */
  write(bytes: Uint8Array, start: number, length: number, sequence: number, partial: boolean): void {
    const gso = length > TRAFFIC_MTU_BYTES;
    const headers = this.#writeHeaders(bytes, start, length, sequence, gso);
    const from = patternStart(sequence);
    bytes.set(this.#pattern.subarray(from, from + length - headers), start + headers);
    const needsChecksum = partial || gso;
    const where = locateChecksum(bytes, start, headers);
    if (needsChecksum) writePseudoChecksum(bytes, start, where, length);
    writeVnetHeader(bytes, start, needsChecksum ? where : 0, gso);
  }

  /** @returns the first difference between a frame and what was sent, or undefined. `needsChecksum` as its header says. */
  difference(
    bytes: Uint8Array,
    start: number,
    length: number,
    tag: TrafficTag,
    needsChecksum: boolean,
  ): string | undefined {
    const gso = length > TRAFFIC_MTU_BYTES;
    const headers = this.#writeHeaders(this.#scratch, 0, length, tag.sequence, gso);
    if (length < headers) return `${length} bytes cannot hold the headers`;
    const where = locateChecksum(this.#scratch, 0, headers);
    const sumAt = (where & 0xffff) + (where >>> 16);
    const sum = ((bytes[start + sumAt] ?? 0) << 8) | (bytes[start + sumAt + 1] ?? 0);
    if (needsChecksum) writePseudoChecksum(this.#scratch, 0, where, length);
    else if (sum !== 0) this.#completeScratch(length, tag.sequence, headers, where);
    const wrong = firstDifference(bytes, start, this.#scratch, 0, headers);
    if (wrong >= 0)
      return `byte ${wrong} of ${length} (header) is ${bytes[start + wrong]}, ${this.#scratch[wrong]} was sent`;
    const from = patternStart(tag.sequence);
    const at = firstDifference(bytes, start + headers, this.#pattern, from, length - headers);
    if (at < 0) return undefined;
    return `byte ${headers + at} of ${length} is ${bytes[start + headers + at]}, ${this.#pattern[from + at]} was sent`;
  }

  /** Puts the complete checksum into the scratch headers: somebody on the way computed it. */
  #completeScratch(length: number, sequence: number, headers: number, where: number): void {
    const whole = this.#whole;
    const from = patternStart(sequence);
    whole.set(this.#scratch.subarray(0, headers));
    whole.set(this.#pattern.subarray(from, from + length - headers), headers);
    writePseudoChecksum(whole, 0, where, length);
    completeChecksum(whole, 0, length, where & 0xffff, where >>> 16);
    this.#scratch.set(whole.subarray(0, headers));
  }

  /** @returns how many bytes the headers and the tag are. */
  #writeHeaders(bytes: Uint8Array, start: number, length: number, sequence: number, tcp: boolean): number {
    const transportBytes = tcp ? TCP_BYTES : UDP_BYTES;
    bytes.fill(0, start, start + TRANSPORT + transportBytes);
    // Locally administered addresses.
    bytes[start] = 0x02;
    bytes[start + 5] = 0x02;
    bytes[start + 6] = 0x02;
    bytes[start + 11] = 0x01;
    bytes[start + 12] = 0x08;
    writeIpv4(bytes, start + ETHERNET_BYTES, length - ETHERNET_BYTES, tcp ? PROTOCOL_TCP : PROTOCOL_UDP);
    const transport = start + TRANSPORT;
    put16(bytes, transport, 4000);
    put16(bytes, transport + 2, 4001);
    if (tcp) {
      put32(bytes, transport + 4, sequence);
      bytes[transport + 12] = (TCP_BYTES / 4) << 4;
      bytes[transport + 13] = 0x10;
    } else put16(bytes, transport + 4, length - TRANSPORT);
    const tag = transport + transportBytes;
    put32(bytes, tag, MAGIC);
    put32(bytes, tag + 4, this.seed);
    put32(bytes, tag + 8, sequence);
    return TRANSPORT + transportBytes + TAG_BYTES;
  }
}

/** @returns false when this is no frame of ours. */
export function readTag(bytes: Uint8Array, start: number, length: number, into: TrafficTag): boolean {
  if (length < TRAFFIC_BYTES_MIN) return false;
  const tcp = bytes[start + ETHERNET_BYTES + 9] === PROTOCOL_TCP;
  const at = start + TRANSPORT + (tcp ? TCP_BYTES : UDP_BYTES);
  if (get32(bytes, at) !== MAGIC) return false;
  into.seed = get32(bytes, at + 4);
  into.sequence = get32(bytes, at + 8);
  return true;
}

function patternStart(sequence: number): number {
  // The upper half of the product depends on every bit of the number: a damaged number does not fit its content.
  return Math.imul(sequence, 0x9e3779b1) >>> 16;
}

function writeVnetHeader(bytes: Uint8Array, start: number, where: number, gso: boolean): void {
  const at = start - VNET_HEADER_BYTES;
  bytes.fill(0, at, start);
  bytes[at] = where === 0 ? 0 : VNET_FLAG_NEEDS_CSUM;
  bytes[at + 1] = gso ? VNET_GSO_TCPV4 : VNET_GSO_NONE;
  if (gso) {
    le16(bytes, at + 2, TRANSPORT + TCP_BYTES);
    le16(bytes, at + 4, SEGMENT_BYTES);
  }
  le16(bytes, at + 6, where & 0xffff);
  le16(bytes, at + 8, where >>> 16);
}

function writeIpv4(bytes: Uint8Array, at: number, length: number, protocol: number): void {
  bytes[at] = 0x45;
  put16(bytes, at + 2, length);
  bytes[at + 6] = 0x40;
  bytes[at + 8] = 64;
  bytes[at + 9] = protocol;
  // 10.0.0.1 to 10.0.0.2
  put32(bytes, at + 12, 0x0a000001);
  put32(bytes, at + 16, 0x0a000002);
  let sum = 0;
  for (let i = 0; i < IPV4_BYTES; i += 2) sum += (bytes[at + i] << 8) | bytes[at + i + 1];
  put16(bytes, at + 10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
}

function firstDifference(
  a: Uint8Array,
  aStart: number,
  b: Uint8Array,
  bStart: number,
  count: number,
): number {
  if (Buffer.compare(a.subarray(aStart, aStart + count), b.subarray(bStart, bStart + count)) === 0) return -1;
  for (let i = 0; i < count; i++) if (a[aStart + i] !== b[bStart + i]) return i;
  return -1;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value);
}

function get32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

function le16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
