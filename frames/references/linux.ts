/** Where Linux finds a frame's TCP or UDP header. */
export interface Found {
  readonly start: number;
  /** Where the checksum is, counted from `start`. */
  readonly offset: number;
  readonly protocol: 'tcp' | 'udp';
  readonly version: 4 | 6;
  /** Where the IP header begins. */
  readonly ip: number;
}

const ETHERNET = 14;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
/** How many bytes of a frame netfront has in its linear part, and to what length skb_checksum_setup extends it for IPv6. */
const PULLED = 256;
const TRANSPORTS: Readonly<Record<number, { protocol: 'tcp' | 'udp'; offset: number; header: number }>> = {
  6: { protocol: 'tcp', offset: 16, header: 20 },
  17: { protocol: 'udp', offset: 6, header: 8 },
};
const [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION] = [0, 43, 44, 51, 60];

/**
 * Follows skb_checksum_setup of net/core/skbuff.c (Linux 6.12): untagged IPv4 and IPv6 only, no fragments, TCP and UDP.
 * @returns where the header is; or, in a few words, why Linux gives up.
 */
export function findTransport(frame: Uint8Array): Found | string {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < ETHERNET) return 'no Ethernet header';
  const type = view.getUint16(12);
  if (type === IPV4) return inIpv4(view);
  return type === IPV6 ? inIpv6(view) : `ethertype 0x${type.toString(16).padStart(4, '0')}`;
}

function inIpv4(view: DataView): Found | string {
  if (view.byteLength < ETHERNET + 20) return 'a cut IPv4 header';
  if ((view.getUint16(ETHERNET + 6) & 0x3fff) !== 0) return 'an IPv4 fragment';
  const header = (view.getUint8(ETHERNET) & 15) * 4;
  return transportAt(view, ETHERNET + header, view.getUint8(ETHERNET + 9), 4);
}

function inIpv6(view: DataView): Found | string {
  if (view.byteLength < ETHERNET + 40) return 'a cut IPv6 header';
  const end = ETHERNET + 40 + view.getUint16(ETHERNET + 4);
  let at = ETHERNET + 40;
  let next = view.getUint8(ETHERNET + 6);
  while (at <= end) {
    const length = lengthOf(view, at, next);
    if (typeof length === 'string') return length;
    if (length === 0) return transportAt(view, at, next, 6);
    next = view.getUint8(at);
    at += length;
  }
  return 'a chain of headers beyond the datagram';
}

/** @returns the length of the extension header; 0 for any other header; or what is wrong with it. */
function lengthOf(view: DataView, at: number, kind: number): number | string {
  if (![HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION].includes(kind)) return 0;
  if (at + 8 > limitOf(view)) return 'headers beyond 256 bytes';
  if (kind === FRAGMENT) return (view.getUint16(at + 2) & 0xfff9) === 0 ? 8 : 'an IPv6 fragment';
  // RFC 4302: in units of 4 bytes, less 2; RFC 8200: in units of 8 bytes, less 1.
  return kind === AUTHENTICATION ? (view.getUint8(at + 1) + 2) * 4 : (view.getUint8(at + 1) + 1) * 8;
}

function limitOf(view: DataView): number {
  return Math.min(view.byteLength, ETHERNET + PULLED);
}

function transportAt(view: DataView, start: number, number: number, version: 4 | 6): Found | string {
  const transport = TRANSPORTS[number];
  if (transport === undefined) return `protocol ${number}`;
  if (start + transport.header > limitOf(view)) return 'headers beyond 256 bytes, or cut';
  return { start, offset: transport.offset, protocol: transport.protocol, version, ip: ETHERNET };
}
