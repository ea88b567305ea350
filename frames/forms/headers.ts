/** A header for frames/references/build_frames.py: its name and its arguments. */
export type Layer = readonly [name: string, args: Readonly<Record<string, number>>];

/** How a guest's Linux, or vifd for it, may treat the transport header behind these headers. */
export type Place =
  /** Linux finds it (skb_checksum_setup): an open checksum can be left to a guest. */
  | 'found'
  /** Linux does not find it: the checksum must be complete before the frame reaches a guest. */
  | 'hidden'
  /** The headers wrap a second frame or datagram, which has the transport header in question. */
  | 'tunnel'
  /** A part of a datagram: it has no checksum of its own. */
  | 'fragment';

export interface Headers {
  readonly name: string;
  readonly version: 4 | 6;
  /** What stands between the Ethernet header (and tags) and the transport header. */
  readonly layers: readonly Layer[];
  readonly place: Place;
  /** The version of the innermost IP header; default: `version`. */
  readonly inner?: 4 | 6;
  /** The short form has these headers. */
  readonly quick?: true;
}

const v4 = (name: string, layers: readonly Layer[], place: Place = 'found'): Headers => ({
  name,
  version: 4,
  layers,
  place,
});
const v6 = (name: string, layers: readonly Layer[], place: Place = 'found'): Headers => ({
  name,
  version: 6,
  layers: [IPV6, ...layers],
  place,
});

const IPV4: Layer = ['ip4', {}];
const IPV6: Layer = ['ip6', {}];
const ETHERNET: Layer = ['eth', {}];
const bytes = (name: string, size: number): Layer => [name, { bytes: size }];
const VXLAN_PORT = 4789;
const GENEVE_PORT = 6081;
/** The outer checksum is left out, as Linux does over IPv4. */
const outerUdp = (dport: number, none: 0 | 1): Layer => ['udp', { sport: 50000, dport, none }];

/** Lengths that an IPv4 header's options can have. */
const IPV4_OPTION_BYTES = [4, 8, 12, 16, 20, 24, 28, 32, 36, 40];

/**
 * Linux's netfront reads 256 bytes from the IP header on (MAX_IPV6_HDR_LEN, net/core/skbuff.c): the TCP header's first 20 bytes must
 * end there. 40 of IPv6 and 196 of extension headers is the bound, 192 the longest multiple of 8 below it.
 */
const EXTENSIONS_MAX = 192;

const IPV4_HEADERS: readonly Headers[] = [
  { ...v4('IPv4', [IPV4]), quick: true },
  ...IPV4_OPTION_BYTES.map((size) => v4(`IPv4, options ${size}`, [bytes('ip4', size)])),
];

const IPV6_HEADERS: readonly Headers[] = [
  { ...v6('IPv6', []), quick: true },
  v6('IPv6, hop-by-hop', [bytes('hbh', 8)]),
  v6('IPv6, hop-by-hop 64', [bytes('hbh', 64)]),
  v6('IPv6, routing', [bytes('route', 8)]),
  v6('IPv6, routing 40', [bytes('route', 40)]),
  v6('IPv6, destination', [bytes('dest', 8)]),
  { ...v6('IPv6, atomic fragment', [['frag', {}]]), quick: true },
  { ...v6('IPv6, AH', [bytes('ah', 24)]), quick: true },
  v6('IPv6, AH 16', [bytes('ah', 16)]),
  v6('IPv6, hop-by-hop, routing', [bytes('hbh', 8), bytes('route', 24)]),
  v6('IPv6, destination, AH', [bytes('dest', 16), bytes('ah', 24)]),
  {
    ...v6('IPv6, all five', [
      bytes('hbh', 8),
      bytes('dest', 8),
      bytes('route', 24),
      ['frag', {}],
      bytes('ah', 24),
      bytes('dest', 16),
    ]),
    quick: true,
  },
  v6(
    'IPv6, 16 x destination',
    Array.from({ length: 16 }, () => bytes('dest', 8)),
  ),
  v6('IPv6, destination 88 (headers 128)', [bytes('dest', 88)]),
  v6('IPv6, 2 x destination 80', [bytes('dest', 80), bytes('dest', 80)]),
  v6('IPv6, destination 192 (the bound)', [bytes('dest', EXTENSIONS_MAX)]),
];

const HIDDEN: readonly Headers[] = [
  v6('IPv6, destination 200 (TCP just beyond the bound)', [bytes('dest', 200)], 'hidden'),
  v6('IPv6, destination 240 (beyond the bound)', [bytes('dest', 240)], 'hidden'),
  v4('IPv4, AH', [IPV4, bytes('ah', 24)], 'hidden'),
  { ...v4('IPv4, unknown', [IPV4, bytes('unknown', 8)], 'hidden'), quick: true },
  v6('IPv6, unknown', [bytes('unknown', 8)], 'hidden'),
  v6('IPv6, destination, unknown', [bytes('dest', 8), bytes('unknown', 16)], 'hidden'),
  v4('IPv4, first fragment', [['ip4', { more: 1 }]], 'fragment'),
  v6('IPv6, first fragment', [['frag', { more: 1 }]], 'fragment'),
];

const TUNNELS: readonly Headers[] = [
  {
    ...v4('VXLAN over IPv4', [IPV4, outerUdp(VXLAN_PORT, 1), ['vxlan', {}], ETHERNET, IPV4], 'tunnel'),
    quick: true,
  },
  v6('VXLAN over IPv6', [outerUdp(VXLAN_PORT, 0), ['vxlan', {}], ETHERNET, IPV4], 'tunnel'),
  {
    ...v4('GENEVE over IPv4', [IPV4, outerUdp(GENEVE_PORT, 0), ['geneve', {}], ETHERNET, IPV6], 'tunnel'),
    inner: 6,
  },
  v4('GRE over IPv4', [IPV4, ['gre', {}], IPV4], 'tunnel'),
  { ...v6('GRE over IPv6', [['gre', {}], IPV4], 'tunnel'), inner: 4 },
  { ...v4('IPv4 in IPv4', [IPV4, IPV4], 'tunnel'), quick: true },
  { ...v4('IPv6 in IPv4', [IPV4, IPV6], 'tunnel'), inner: 6 },
  { ...v6('IPv4 in IPv6', [IPV4], 'tunnel'), inner: 4 },
];

export const HEADERS: readonly Headers[] = [...IPV4_HEADERS, ...IPV6_HEADERS, ...HIDDEN, ...TUNNELS];
