import { completeChecksum, writePseudoChecksum } from '../../protocol/checksum.js';
import {
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_HEADER_BYTES,
  vnetFirst,
  vnetSecond,
  writeVnetBytes,
} from '../../protocol/vnet.js';
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
const TCP_CHECKSUM_OFFSET = 16;
const UDP_CHECKSUM_OFFSET = 6;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;

/** Shortest frame that can carry the tag. */
export const TRAFFIC_BYTES_MIN = TRANSPORT + UDP_BYTES + TAG_BYTES;
/** The IPv4 length field has 16 bits, and netif's size field counts the Ethernet header, too. */
export const TRAFFIC_BYTES_MAX = 65535;
/** A longer frame is a GSO frame by default. */
export const TRAFFIC_MTU_BYTES = 1514;
/** Payload of a segment of a GSO frame. */
const SEGMENT_BYTES = 1448;

/** The number of results of patternStart. */
const PATTERN_STARTS = 1 << 16;
/** The most lengths for which headers are cached. */
const TEMPLATES_MAX = 256;
/** The longest copy for which a loop is cheaper than the views that bulk operations need. */
const LOOP_BYTES_MAX = 96;

/** The seed and number in a frame. */
export interface TrafficTag {
  /** The seed of the Generator that made the frame. */
  seed: number;
  /** The number of the frame among those of its seed. */
  sequence: number;
}

/** The bytes that all frames of one length share, with the vnet header. */
interface Template {
  readonly bytes: Uint8Array;
  /** Bytes of headers and tag, without the vnet header. */
  readonly headers: number;
  readonly tcp: boolean;
}

/** Patterns by seed: simulations make thousands of short-lived ports of few seeds. */
const patterns = new Map<number, Uint8Array>();
const PATTERNS_MAX = 16;

function patternOf(seed: number): Uint8Array {
  const known = patterns.get(seed);
  if (known !== undefined) return known;
  const words = new Uint32Array((PATTERN_STARTS + TRAFFIC_BYTES_MAX + 1) >>> 2);
  const random = new Xorshift(seed);
  for (let i = 0; i < words.length; i++) words[i] = random.next();
  if (patterns.size >= PATTERNS_MAX) patterns.clear();
  const pattern = new Uint8Array(words.buffer);
  patterns.set(seed, pattern);
  return pattern;
}

/** Writes and recognizes the frames of one seed. */
export class TrafficFrames {
  /** The seed, an unsigned number of 32 bits. */
  readonly seed: number;
  readonly #mtuBytes: number;
  readonly #pattern: Uint8Array;
  readonly #templates = new Map<number, Template>();
  /** A frame with a complete checksum, to compare with one whose checksum was completed on the way. */
  readonly #whole = new Uint8Array(VNET_HEADER_BYTES + TRAFFIC_BYTES_MAX);

  /** @param mtuBytes longer frames are GSO frames. */
  constructor(seed: number, mtuBytes = TRAFFIC_MTU_BYTES) {
    this.seed = seed >>> 0;
    this.#mtuBytes = mtuBytes;
    this.#pattern = patternOf(this.seed);
  }

  /**
   * Writes frame `sequence` at `start` and its vnet header in front.
   * @param partial leaves the checksum to the reader. Always so for GSO.
   */
  write(bytes: Uint8Array, start: number, length: number, sequence: number, partial: boolean): void {
    const { bytes: head, headers, tcp } = this.#template(length, partial);
    copy(head, 0, bytes, start - VNET_HEADER_BYTES, head.length);
    putSequence(bytes, start, tcp, sequence);
    const from = patternStart(sequence);
    copy(this.#pattern, from, bytes, start + headers, length - headers);
  }

  /** @returns the first difference between a frame and what was sent, or undefined. `needsChecksum`: from its vnet header. */
  difference(
    bytes: Uint8Array,
    start: number,
    length: number,
    tag: TrafficTag,
    needsChecksum: boolean,
  ): string | undefined {
    const { bytes: head, headers, tcp } = this.#template(length, needsChecksum);
    if (length < headers) return `${length} bytes cannot hold the headers`;
    const sumAt = start + TRANSPORT + (tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
    const completed = !needsChecksum && (tcp || bytes[sumAt] !== 0 || bytes[sumAt + 1] !== 0);
    const sent = completed ? this.#completed(length, tag.sequence) : head;
    putSequence(sent, VNET_HEADER_BYTES, tcp, tag.sequence);
    const wrong = firstDifference(bytes, start, sent, VNET_HEADER_BYTES, headers);
    if (wrong >= 0) {
      const expected = sent[VNET_HEADER_BYTES + wrong];
      return `byte ${wrong} of ${length} (header) is ${bytes[start + wrong]}, ${expected} was sent`;
    }
    const from = patternStart(tag.sequence);
    const at = firstDifference(bytes, start + headers, this.#pattern, from, length - headers);
    if (at < 0) return undefined;
    return `byte ${headers + at} of ${length} is ${bytes[start + headers + at]}, ${this.#pattern[from + at]} was sent`;
  }

  /** Returns the frame with its checksum computed, behind a vnet header. */
  #completed(length: number, sequence: number): Uint8Array {
    const whole = this.#whole;
    this.write(whole, VNET_HEADER_BYTES, length, sequence, true);
    const offset = length > this.#mtuBytes ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET;
    completeChecksum(whole, VNET_HEADER_BYTES, length, TRANSPORT, offset);
    return whole;
  }

  #template(length: number, partial: boolean): Template {
    const key = length * 2 + Number(partial);
    let template = this.#templates.get(key);
    if (template === undefined) {
      template = makeTemplate(length, this.seed, partial, length > this.#mtuBytes);
      if (this.#templates.size === TEMPLATES_MAX) this.#templates.clear();
      this.#templates.set(key, template);
    }
    return template;
  }
}

function makeTemplate(length: number, seed: number, partial: boolean, tcp: boolean): Template {
  const transportBytes = tcp ? TCP_BYTES : UDP_BYTES;
  const headers = TRANSPORT + transportBytes + TAG_BYTES;
  const bytes = new Uint8Array(VNET_HEADER_BYTES + headers);
  const start = VNET_HEADER_BYTES;
  // Locally administered addresses.
  bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00], start);
  writeIpv4(bytes, start + ETHERNET_BYTES, length - ETHERNET_BYTES, tcp ? PROTOCOL_TCP : PROTOCOL_UDP);
  const transport = start + TRANSPORT;
  put16(bytes, transport, 4000);
  put16(bytes, transport + 2, 4001);
  if (tcp) {
    bytes[transport + 12] = (TCP_BYTES / 4) << 4;
    bytes[transport + 13] = 0x10;
  } else put16(bytes, transport + 4, length - TRANSPORT);
  put32(bytes, transport + transportBytes, MAGIC);
  put32(bytes, transport + transportBytes + 4, seed);
  const where = TRANSPORT | ((tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET) << 16);
  if (partial || tcp) writePseudoChecksum(bytes, start, where, length);
  writeVnetHeader(bytes, start, partial || tcp ? where : 0, tcp);
  return { bytes, headers, tcp };
}

function putSequence(bytes: Uint8Array, start: number, tcp: boolean, sequence: number): void {
  const transport = start + TRANSPORT;
  if (tcp) put32(bytes, transport + 4, sequence);
  put32(bytes, transport + (tcp ? TCP_BYTES : UDP_BYTES) + 8, sequence);
}

/** @returns false if the frame has no tag of this module. */
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
  const flags = where === 0 ? 0 : VNET_FLAG_NEEDS_CSUM;
  const first = gso
    ? vnetFirst(flags, VNET_GSO_TCPV4, TRANSPORT + TCP_BYTES)
    : vnetFirst(flags, VNET_GSO_NONE, 0);
  const second = vnetSecond(gso ? SEGMENT_BYTES : 0, where & 0xffff);
  writeVnetBytes(bytes, start - VNET_HEADER_BYTES, first, second, where >>> 16);
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

function copy(from: Uint8Array, at: number, into: Uint8Array, start: number, count: number): void {
  if (count > LOOP_BYTES_MAX) into.set(from.subarray(at, at + count), start);
  else for (let i = 0; i < count; i++) into[start + i] = from[at + i];
}

function firstDifference(
  a: Uint8Array,
  aStart: number,
  b: Uint8Array,
  bStart: number,
  count: number,
): number {
  if (count > LOOP_BYTES_MAX) {
    const same = Buffer.compare(a.subarray(aStart, aStart + count), b.subarray(bStart, bStart + count)) === 0;
    if (same) return -1;
  }
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
