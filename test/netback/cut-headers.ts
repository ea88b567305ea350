/** Frames from guests whose headers are cut over slots, as guests may send them (XSA-423). */
import {
  EXTRA_TYPE_GSO,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import type { RawGuest, TxSlot } from './raw-guest.js';

export interface Headers {
  readonly version: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  readonly tags?: number;
  /** Bytes of options, multiples of 4. */
  readonly ipOptions?: number;
  readonly tcpOptions?: number;
  /** Bytes of each IPv6 extension header (destination options), multiples of 8. */
  readonly extensions?: readonly number[];
  readonly payload?: number;
}

export interface CutFrame {
  readonly bytes: Uint8Array;
  readonly version: 4 | 6;
  readonly csumStart: number;
  readonly headersEnd: number;
}

/** @returns a frame whose checksum is partial: the sum of the pseudo header. */
export function headersFrame(headers: Headers): CutFrame {
  const {
    version,
    protocol,
    tags = 0,
    ipOptions = 0,
    tcpOptions = 0,
    extensions = [],
    payload = 300,
  } = headers;
  const ip = 14 + 4 * tags;
  const ipBytes = version === 4 ? 20 + ipOptions : 40 + extensions.reduce((sum, bytes) => sum + bytes, 0);
  const csumStart = ip + ipBytes;
  const headersEnd = csumStart + (protocol === 'tcp' ? 20 + tcpOptions : 8);
  const bytes = new Uint8Array(headersEnd + payload).map((_, i) => (i < headersEnd ? 0 : (i * 7 + 3) & 0xff));
  const view = new DataView(bytes.buffer);
  bytes.set([0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 7]);
  for (let tag = 0; tag < tags; tag++) {
    view.setUint16(12 + 4 * tag, tags - tag === 2 ? 0x88a8 : 0x8100);
    view.setUint16(14 + 4 * tag, 5 + tag);
  }
  view.setUint16(ip - 2, version === 4 ? 0x0800 : 0x86dd);
  const number = protocol === 'tcp' ? 6 : 17;
  const addresses = version === 4 ? ipv4(bytes, ip, ipBytes, number) : ipv6(bytes, ip, extensions, number);
  if (protocol === 'tcp') {
    view.setUint16(csumStart, 1000);
    view.setUint16(csumStart + 2, 2000);
    view.setUint16(csumStart + 12, (((20 + tcpOptions) / 4) << 12) | 0x18);
    bytes.fill(1, csumStart + 20, headersEnd);
  } else {
    view.setUint16(csumStart + 4, bytes.length - csumStart);
  }
  let sum = number + bytes.length - csumStart;
  for (let at = addresses[0]; at < addresses[1]; at += 2) sum += view.getUint16(at);
  view.setUint16(csumStart + (protocol === 'tcp' ? 16 : 6), fold(sum));
  return { bytes, version, csumStart, headersEnd };
}

/** @returns where the addresses are. */
function ipv4(bytes: Uint8Array, ip: number, ipBytes: number, protocol: number): [number, number] {
  const view = new DataView(bytes.buffer);
  bytes[ip] = 0x40 | (ipBytes / 4);
  view.setUint16(ip + 2, bytes.length - ip);
  bytes.set([0x40, 0, 64, protocol, 0, 0, 10, 9, 8, 1, 10, 9, 8, 2], ip + 6);
  bytes.fill(1, ip + 20, ip + ipBytes);
  let sum = 0;
  for (let at = ip; at < ip + ipBytes; at += 2) sum += view.getUint16(at);
  view.setUint16(ip + 10, ~fold(sum) & 0xffff);
  return [ip + 12, ip + 20];
}

/** @returns where the addresses are. */
function ipv6(
  bytes: Uint8Array,
  ip: number,
  extensions: readonly number[],
  protocol: number,
): [number, number] {
  const OPTIONS = 60;
  bytes[ip] = 0x60;
  new DataView(bytes.buffer).setUint16(ip + 4, bytes.length - ip - 40);
  bytes.set([extensions.length > 0 ? OPTIONS : protocol, 64, 0xfd], ip + 6);
  bytes.set([1, 0xfd], ip + 23);
  bytes[ip + 39] = 2;
  let at = ip + 40;
  for (const [i, length] of extensions.entries()) {
    // PadN over all of it.
    bytes.set([i + 1 < extensions.length ? OPTIONS : protocol, length / 8 - 1, 1, length - 4], at);
    at += length;
  }
  return [ip + 8, ip + 40];
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

const chain = (extensions: readonly number[]): Headers => ({ version: 6, protocol: 'tcp', extensions });
const allOptions: Headers = { version: 4, protocol: 'tcp', ipOptions: 40, tcpOptions: 40 };

export const KINDS: readonly (readonly [name: string, headers: Headers])[] = [
  ['TCP/IPv4', { version: 4, protocol: 'tcp' }],
  ['UDP/IPv4', { version: 4, protocol: 'udp' }],
  ['TCP/IPv4, all options', allOptions],
  ['TCP/IPv4, all options, a tag', { ...allOptions, tags: 1 }],
  ['TCP/IPv4, all options, two tags', { ...allOptions, tags: 2 }],
  ['UDP/IPv6', { version: 6, protocol: 'udp' }],
  ['TCP/IPv6, a tag', { version: 6, protocol: 'tcp', tags: 1 }],
  ['TCP/IPv6, an extension, all options', { ...chain([64]), tcpOptions: 40 }],
  ['UDP/IPv6, extensions, two tags', { ...chain([96, 8]), protocol: 'udp', tags: 2 }],
  ['TCP/IPv6, a chain beyond what is copied of a mapped frame', { ...chain([104, 104]), tcpOptions: 40 }],
  ['TCP/IPv6, a chain of 608 bytes', { ...chain([304, 8, 288, 8]), tags: 2, tcpOptions: 12 }],
];

/**
 * Puts the pieces of a frame into pages of the guest from `page` on.
 * @param cuts where slots end; equal ones make empty slots.
 * @param gsoBytes segment size; 0 for none.
 */
export function cutSlots(
  guest: RawGuest,
  frame: CutFrame,
  cuts: readonly number[],
  page: number,
  gsoBytes = 0,
): TxSlot[] {
  const ends = [...cuts, frame.bytes.length];
  const slots: TxSlot[] = [];
  let start = 0;
  for (const [i, end] of ends.entries()) {
    // A slot may begin anywhere in its page; the last one ends with its page.
    const offset = i + 1 === ends.length ? 4096 - (end - start) : (i * 37) & 0x3fe;
    guest.pages.bytes.set(frame.bytes.subarray(start, end), (page + i) * 4096 + offset);
    const own = i === 0 ? TX_FLAG_CSUM_BLANK | (gsoBytes > 0 ? TX_FLAG_EXTRA_INFO : 0) : 0;
    const flags = own | (i + 1 < ends.length ? TX_FLAG_MORE_DATA : 0);
    slots.push({ page: page + i, offset, size: i === 0 ? frame.bytes.length : end - start, flags });
    start = end;
  }
  const kind = frame.version === 4 ? GSO_TYPE_TCPV4 : GSO_TYPE_TCPV6;
  if (gsoBytes > 0) slots.splice(1, 0, { words: [EXTRA_TYPE_GSO | (gsoBytes << 16), kind, 0] });
  return slots;
}
