/** Cutting a TCP frame of up to 64 KiB into frames of a given payload, as a network card with TSO does. */
import { completeChecksum, tcpHeaderEnd, writePseudoChecksum } from './checksum.js';

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_QINQ = 0x88a8;
const IPV6_HEADER_BYTES = 40;
const TCP_CHECKSUM_OFFSET = 16;

/** TCP flags (RFC 9293, RFC 3168): a segment but the last has neither, a segment but the first has no CWR. */
const TCP_FIN_PSH = 0x01 | 0x08;
const TCP_CWR = 0x80;

export interface Segmentation {
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly segments: number;
  /** All segments together. */
  readonly totalBytes: number;
}

/**
 * What cutting `frame` will give, without doing it: so that its size can be judged first.
 * @param csumStart of virtio_net_hdr: where the TCP header begins.
 * @returns undefined for a frame whose headers contradict it.
 */
export function planSegments(
  frame: Uint8Array,
  csumStart: number,
  gsoBytes: number,
): Segmentation | undefined {
  const headerBytes = tcpHeaderEnd(frame, 0, frame.length, csumStart);
  const ip = ipOffset(frame);
  if (headerBytes <= csumStart || gsoBytes === 0 || ip === 0 || ip + 20 > csumStart) return undefined;
  if (!isIpv4(frame, ip) && ip + IPV6_HEADER_BYTES > csumStart) return undefined;
  const payloadBytes = frame.length - headerBytes;
  const segments = Math.max(1, Math.ceil(payloadBytes / gsoBytes));
  return { headerBytes, payloadBytes, segments, totalBytes: segments * headerBytes + payloadBytes };
}

/**
 * Writes segment `index` of `frame` to the start of `into`, with complete checksums.
 * @returns its length.
 */
export function writeSegment(
  frame: Uint8Array,
  plan: Segmentation,
  csumStart: number,
  gsoBytes: number,
  index: number,
  into: Uint8Array,
): number {
  const { headerBytes, segments } = plan;
  const from = headerBytes + index * gsoBytes;
  const end = Math.min(from + gsoBytes, frame.length);
  const length = headerBytes + (end - from);
  into.set(frame.subarray(0, headerBytes));
  into.set(frame.subarray(from, end), headerBytes);

  const ip = ipOffset(frame);
  if (isIpv4(frame, ip)) fixIpv4(into, ip, length, index);
  else put16(into, ip + 4, length - ip - IPV6_HEADER_BYTES);
  put32(into, csumStart + 4, (get32(frame, csumStart + 4) + index * gsoBytes) >>> 0);
  if (index < segments - 1) into[csumStart + 13] &= ~TCP_FIN_PSH;
  if (index > 0) into[csumStart + 13] &= ~TCP_CWR;
  writePseudoChecksum(into, 0, csumStart | (TCP_CHECKSUM_OFFSET << 16), length);
  completeChecksum(into, 0, length, csumStart, TCP_CHECKSUM_OFFSET);
  return length;
}

/** Each segment is a datagram of its own: length, identification, and with them the header's checksum, differ. */
function fixIpv4(bytes: Uint8Array, ip: number, length: number, index: number): void {
  put16(bytes, ip + 2, length - ip);
  put16(bytes, ip + 4, (get16(bytes, ip + 4) + index) & 0xffff);
  put16(bytes, ip + 10, 0);
  completeChecksum(bytes, 0, ip + (bytes[ip] & 0x0f) * 4, ip, 10);
}

/** @returns where the IP header begins, 0 when the frame holds no other header than Ethernet and VLAN tags. */
function ipOffset(frame: Uint8Array): number {
  let offset = 12;
  for (let tags = 0; tags < 2; tags++) {
    const type = offset + 2 <= frame.length ? get16(frame, offset) : 0;
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_QINQ) break;
    offset += 4;
  }
  return offset + 22 <= frame.length ? offset + 2 : 0;
}

function isIpv4(frame: Uint8Array, ip: number): boolean {
  return get16(frame, ip - 2) === ETHERTYPE_IPV4;
}

function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

function get32(bytes: Uint8Array, at: number): number {
  return get16(bytes, at) * 0x10000 + get16(bytes, at + 2);
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}
