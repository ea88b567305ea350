/** Frames from guests whose headers are cut over slots, as guests may send them (XSA-423). */
import {
  EXTRA_TYPE_GSO,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import { DESTINATION, type Layer, payloadOf, stacked } from '../stacked-frames.js';

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

/** The types of two tags, the outer one first; a single tag has the inner type. */
const TAG_TYPES = [0x88a8, 0x8100];
const ACK_PSH = 0x18;

/** @returns a frame whose checksum is partial: the sum of the pseudo header. */
export function headersFrame(headers: Headers): CutFrame {
  const { version, protocol, tags = 0, extensions = [], payload = 300 } = headers;
  const layers: Layer[] = [
    ...TAG_TYPES.slice(TAG_TYPES.length - tags).map((type) => ({ kind: 'tag', type }) as const),
    version === 4
      ? { kind: 'ip4', options: headers.ipOptions ?? 0 }
      : { kind: 'ip6', chain: extensions.map((bytes) => [DESTINATION, bytes / 8 - 1] as const) },
    protocol === 'tcp' ? { kind: 'tcp', options: headers.tcpOptions ?? 0, flags: ACK_PSH } : { kind: 'udp' },
  ];
  const { frame, csumStart, headerBytes } = stacked(layers, payloadOf(payload), { checksum: 'partial' });
  return { bytes: frame, version, csumStart, headersEnd: headerBytes };
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
