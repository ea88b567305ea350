import * as fc from 'fast-check';

/**
 * Frames made of layers, from the outermost to TCP or UDP. Each is written from its description alone, with checksums and lengths, so
 * that the segments of a frame are made without the frame. It does not use lib/.
 */
export type Layer =
  | { readonly kind: 'tag'; readonly type: number }
  | { readonly kind: 'pppoe' }
  | { readonly kind: 'mpls'; readonly labels: number }
  | { readonly kind: 'ip4'; readonly options?: number }
  | { readonly kind: 'ip6'; readonly chain?: readonly Extension[] }
  | { readonly kind: 'vxlan'; readonly checksum?: boolean }
  | { readonly kind: 'gre'; readonly flags?: number }
  /** Default flags: all that differ between segments. */
  | { readonly kind: 'tcp'; readonly options?: number; readonly flags?: number }
  | { readonly kind: 'udp' };

/** Type of an IPv6 extension header, and its length in units of its own. */
export type Extension = readonly [type: number, units: number];

export interface Written {
  readonly frame: Uint8Array;
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly headerBytes: number;
}

export interface Wanted {
  readonly checksum: 'partial' | 'complete';
  /** Which segment it is, for sequence number, identification and flags. */
  readonly segment?: { readonly index: number; readonly from: number; readonly last: boolean };
}

export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const AUTHENTICATION = 51;
export const DESTINATION = 60;
export const MOBILITY = 135;
export const SHIM6 = 140;
/** For experiments (RFC 3692): no stack knows it. */
export const EXPERIMENT = 253;

const TCP_FLAGS = 0xd9;
const SEQUENCE = 0xffff_f000;
const IDENTIFICATION = 0xfffe;
const MACS = [0, 0x16, 0x3e, 0, 0, 7, 2, 0, 0, 0, 0, 9];
const ADDRESSES_4 = [10, 9, 8, 1, 10, 9, 8, 2];
const ADDRESSES_6 = [0xfd, ...Array(14).fill(0), 1, 0xfd, ...Array(14).fill(0), 2];
/** What a routing header makes of the destination. */
const FINAL = [0xfd, ...Array(13).fill(0), 9, 9];

const be16 = (value: number) => [(value >>> 8) & 0xff, value & 0xff];
const be32 = (value: number) => [...be16(value >>> 16), ...be16(value & 0xffff)];

/** RFC 1071; exact as long as the sum is below 2^53. */
export function sumOf(...parts: ReadonlyArray<readonly number[]>): number {
  let sum = 0;
  for (const part of parts)
    for (let i = 0; i < part.length; i += 2) sum += part[i]! * 256 + (part[i + 1] ?? 0);
  return sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1;
}

export function stacked(layers: readonly Layer[], payload: readonly number[], wanted: Wanted): Written {
  const [first] = layers;
  const bytes = [...MACS, ...be16(ethertypeOf(first!)), ...body(layers, 0, payload, wanted, [])];
  const transport = layers.at(-1)!;
  const transportBytes = transport.kind === 'tcp' ? 20 + (transport.options ?? 0) : 8;
  const headerBytes = bytes.length - payload.length;
  return {
    frame: Uint8Array.from(bytes),
    csumStart: headerBytes - transportBytes,
    csumOffset: transport.kind === 'tcp' ? 16 : 6,
    headerBytes,
  };
}

/** @returns the segments into which the frame of these layers and this payload must be cut. */
export function segmentsOf(
  layers: readonly Layer[],
  payload: readonly number[],
  gsoBytes: number,
): Uint8Array[] {
  const count = Math.max(1, Math.ceil(payload.length / gsoBytes));
  return Array.from({ length: count }, (_, index) => {
    const from = index * gsoBytes;
    const part = payload.slice(from, from + gsoBytes);
    return stacked(layers, part, {
      checksum: 'complete',
      segment: { index, from, last: index === count - 1 },
    }).frame;
  });
}

function body(
  layers: readonly Layer[],
  at: number,
  payload: readonly number[],
  wanted: Wanted,
  pseudo: readonly number[],
): number[] {
  const layer = layers[at]!;
  const next = layers[at + 1];
  const inner = (addresses = pseudo) => body(layers, at + 1, payload, wanted, addresses);
  switch (layer.kind) {
    case 'tag':
      return [0, 100, ...be16(ethertypeOf(next!)), ...inner()];
    case 'mpls': {
      const labels = Array.from({ length: layer.labels }, (_, i) => [
        0,
        1,
        i === layer.labels - 1 ? 1 : 0,
        64,
      ]);
      return [...labels.flat(), ...inner()];
    }
    case 'pppoe': {
      const carried = inner();
      const protocol = next!.kind === 'ip4' ? 0x0021 : 0x0057;
      return [0x11, 0, 0, 5, ...be16(carried.length + 2), ...be16(protocol), ...carried];
    }
    case 'ip4':
      return ipv4(layer.options ?? 0, protocolOf(next!), inner(ADDRESSES_4), wanted);
    case 'ip6': {
      const chain = layer.chain ?? [];
      const final = chain.some(([type]) => type === ROUTING) ? FINAL : ADDRESSES_6.slice(16);
      return ipv6(chain, protocolOf(next!), inner([...ADDRESSES_6.slice(0, 16), ...final]));
    }
    case 'vxlan': {
      const carried = [8, 0, 0, 0, 0, 0, 5, 0, ...MACS, ...be16(ethertypeOf(next!)), ...inner([])];
      const header = [...be16(4000), ...be16(4789), ...be16(carried.length + 8)];
      if (layer.checksum !== true) return [...header, 0, 0, ...carried];
      // The outer checksum is the one that is right once the inner one is complete (Linux's local checksum offload).
      const rest = body(layers, at + 1, payload, { ...wanted, checksum: 'complete' }, []);
      const whole = [...carried.slice(0, 22), ...rest];
      return [...header, ...be16(finished(17, pseudo, [...header, 0, 0, ...whole], 6)), ...carried];
    }
    case 'gre':
      return [
        ...be16(layer.flags ?? 0),
        ...be16(ethertypeOf(next!)),
        ...greOptions(layer.flags ?? 0),
        ...inner([]),
      ];
    default:
      return transportOf(layer, payload, wanted, pseudo);
  }
}

function greOptions(flags: number): number[] {
  return [0x8000, 0x2000, 0x1000].flatMap((flag) => ((flags & flag) === 0 ? [] : [0, 0, 0, 7]));
}

function transportOf(
  layer: Layer,
  payload: readonly number[],
  { checksum, segment }: Wanted,
  pseudo: readonly number[],
): number[] {
  const protocol = protocolOf(layer);
  const place = layer.kind === 'tcp' ? 16 : 6;
  const options = layer.kind === 'tcp' ? (layer.options ?? 0) : 0;
  // The first segment alone has CWR, the last alone FIN and PSH.
  const set = (layer.kind === 'tcp' ? layer.flags : undefined) ?? TCP_FLAGS;
  const flags = segment === undefined ? set : set & ~(segment.index > 0 ? 0x80 : 0) & ~(segment.last ? 0 : 9);
  const header =
    layer.kind === 'tcp'
      ? [
          ...[...be16(4000), ...be16(80), ...be32((SEQUENCE + (segment?.from ?? 0)) >>> 0), ...be32(7)],
          ...[(5 + options / 4) << 4, flags, 1, 2, 0, 0, 0, 0, ...Array(options).fill(1)],
        ]
      : [...be16(4000), ...be16(53), ...be16(8 + payload.length), 0, 0];
  const bytes = [...header, ...payload];
  const sum =
    checksum === 'partial'
      ? sumOf(pseudo, [0, protocol], be32(bytes.length))
      : finished(protocol, pseudo, bytes, place);
  bytes.splice(place, 2, ...be16(sum));
  return bytes;
}

function finished(
  protocol: number,
  pseudo: readonly number[],
  bytes: readonly number[],
  place: number,
): number {
  const sum = ~sumOf(pseudo, [0, protocol], be32(bytes.length), bytes) & 0xffff;
  return sum === 0 && place === 6 ? 0xffff : sum;
}

function ipv4(options: number, protocol: number, carried: number[], { segment }: Wanted): number[] {
  const id = (IDENTIFICATION + (segment?.index ?? 0)) & 0xffff;
  const length = 20 + options + carried.length;
  const start = [0x45 + options / 4, 0, ...be16(length), ...be16(id), 0x40, 0, 64, protocol];
  const rest = [...ADDRESSES_4, ...Array(options).fill(1)];
  return [...start, ...be16(~sumOf(start, rest) & 0xffff), ...rest, ...carried];
}

function ipv6(chain: readonly Extension[], protocol: number, carried: number[]): number[] {
  const types = [...chain.map(([type]) => type), protocol];
  const extensions = chain.flatMap(([type, units], i) => extension(type, units, types[i + 1]!));
  const length = extensions.length + carried.length;
  return [0x60, 0, 0, 0, ...be16(length), types[0]!, 64, ...ADDRESSES_6, ...extensions, ...carried];
}

function extension(type: number, units: number, next: number): number[] {
  if (type === FRAGMENT) return [next, 0, 0, 6, 1, 2, 3, 4];
  if (type === AUTHENTICATION) return [next, units + 1, ...Array((units + 3) * 4 - 2).fill(0x55)];
  return [next, units, ...Array((units + 1) * 8 - 2).fill(0)];
}

function ethertypeOf(layer: Layer): number {
  const types = { pppoe: 0x8864, mpls: 0x8847, ip4: 0x0800, ip6: 0x86dd } as Record<string, number>;
  return layer.kind === 'tag' ? layer.type : types[layer.kind]!;
}

function protocolOf(layer: Layer): number {
  const protocols = { tcp: 6, udp: 17, vxlan: 17, gre: 47, ip4: 4, ip6: 41 } as Record<string, number>;
  return protocols[layer.kind]!;
}

/** Bytes that differ from place to place. */
export function payloadOf(bytes: number, seed = 1): number[] {
  return Array.from({ length: bytes }, (_, i) => (i * 7 + (i >>> 8) * 31 + seed) & 0xff);
}

const TAG_TYPES = [0x8100, 0x88a8, 0x9100];
export const tags = (max: number, types = TAG_TYPES) =>
  fc.array(fc.record({ kind: fc.constant('tag' as const), type: fc.constantFrom(...types) }), {
    maxLength: max,
  });
export const ip4 = fc.record({
  kind: fc.constant('ip4' as const),
  options: fc.nat(10).map((words) => words * 4),
});
export const ip6Of = (types: readonly number[], max = 4) =>
  fc.record({
    kind: fc.constant('ip6' as const),
    chain: fc.array(
      fc
        .constantFrom(...types)
        .chain((type) => fc.tuple(fc.constant(type), type === FRAGMENT ? fc.constant(0) : fc.nat(2))),
      { maxLength: max },
    ) as fc.Arbitrary<Extension[]>,
  });
export const transports = fc.oneof(
  fc.record({ kind: fc.constant('tcp' as const), options: fc.nat(10).map((words) => words * 4) }),
  fc.constant({ kind: 'udp' as const }),
);
