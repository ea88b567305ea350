import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  completeChecksum,
  isUsualChecksum,
  lengthsHold,
  locateAsNetfront,
  locateChecksum,
  locateUsualChecksum,
  tcpHeaderEnd,
  writePseudoChecksum,
} from '../../lib/protocol/checksum.js';
import { networkHeader } from '../../lib/protocol/headers.js';
import { vnetChecksum } from '../../lib/protocol/vnet.js';
import {
  AUTHENTICATION,
  DESTINATION,
  EXPERIMENT,
  FRAGMENT,
  HOP_BY_HOP,
  ip4,
  ip6Of,
  type Layer,
  MOBILITY,
  payloadOf,
  ROUTING,
  SHIM6,
  stacked,
  tags,
  transports,
} from '../stacked-frames.js';

const TCP = 6;
const UDP = 17;

interface Packet {
  readonly version: 4 | 6;
  readonly protocol: number;
  /** Bytes of IPv4 options: a multiple of 4. */
  readonly options: number;
  /** Kinds of IPv6 extension headers, and their lengths in units of 8 bytes. */
  readonly extensions: readonly (readonly [number, number])[];
  readonly tags: number;
  readonly payload: Uint8Array;
}

interface Built {
  readonly bytes: Uint8Array;
  readonly transport: number;
  readonly addresses: Uint8Array;
}

const packet = fc.record<Packet>({
  version: fc.constantFrom(4, 6),
  protocol: fc.constantFrom(TCP, UDP),
  options: fc.nat(10).map((words) => words * 4),
  extensions: fc.array(fc.tuple(fc.constantFrom(0, 43, 60), fc.integer({ min: 1, max: 3 })), {
    maxLength: 4,
  }),
  tags: fc.nat(2),
  payload: fc.uint8Array({ minLength: 0, maxLength: 200 }),
});

/** A frame around a transport header of 20 bytes, whose checksum is 0. */
function build({ version, protocol, options, extensions, tags, payload }: Packet): Built {
  const ethernet = [...Array(12).fill(2), ...Array(tags).fill([0x81, 0x00, 0x00, 0x05]).flat()];
  const segment = [...Array(12).fill(0x11), 0x50, ...Array(7).fill(0), ...payload];
  const addresses = Array.from({ length: version === 4 ? 8 : 32 }, (_, i) => 200 + i);
  const header =
    version === 4
      ? ipv4(protocol, options, segment.length, addresses)
      : ipv6(protocol, extensions, segment.length, addresses);
  const type = version === 4 ? [0x08, 0x00] : [0x86, 0xdd];
  const transport = ethernet.length + 2 + header.length;
  if (protocol === UDP) segment.splice(6, 2, 0, 0);
  return {
    bytes: Uint8Array.from([...ethernet, ...type, ...header, ...segment]),
    transport,
    addresses: Uint8Array.from(addresses),
  };
}

function ipv4(protocol: number, options: number, length: number, addresses: number[]): number[] {
  const total = 20 + options + length;
  const fixed = [0x45 + options / 4, 0, total >>> 8, total & 0xff, 0, 1, 0x40, 0, 64, protocol, 0, 0];
  return [...fixed, ...addresses, ...Array(options).fill(1)];
}

function ipv6(
  protocol: number,
  extensions: Packet['extensions'],
  length: number,
  addresses: number[],
): number[] {
  const kinds = [...extensions.map(([kind]) => kind), protocol];
  const chain = extensions.flatMap(([, units], i) => [
    kinds[i + 1]!,
    units - 1,
    ...Array(units * 8 - 2).fill(0),
  ]);
  const total = chain.length + length;
  return [0x60, 0, 0, 0, total >>> 8, total & 0xff, kinds[0]!, 64, ...addresses, ...chain];
}

/** RFC 1071, the slow way: sums words in arithmetic that cannot overflow and folds at the end. */
function naiveSum(...parts: readonly Uint8Array[]): number {
  let sum = 0n;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += BigInt((part[i]! << 8) | (part[i + 1] ?? 0));
  }
  while (sum > 0xffffn) sum = (sum & 0xffffn) + (sum >> 16n);
  return Number(sum);
}

function pseudoHeader(built: Built, protocol: number): Uint8Array {
  const length = built.bytes.length - built.transport;
  return Uint8Array.from([...built.addresses, 0, 0, length >>> 8, length & 0xff, 0, 0, 0, protocol]);
}

/** The frame somewhere in a larger arena, as it lies in practice. */
function placed(bytes: Uint8Array, start: number): { arena: Uint8Array; words: Uint32Array } {
  const arena = new Uint8Array(1024).fill(0xee);
  arena.set(bytes, start);
  return { arena, words: new Uint32Array(arena.buffer) };
}

describe('locateChecksum', () => {
  it('finds TCP and UDP behind tags, options and extension headers', () => {
    fc.assert(
      fc.property(packet, fc.nat(20), (of, at) => {
        const { bytes, transport } = build(of);
        const { arena, words } = placed(bytes, at * 4);
        const expected = transport | ((of.protocol === TCP ? 16 : 6) << 16);
        expect(locateChecksum(arena, at * 4, bytes.length)).toBe(expected);
        const usual = of.version === 4 && of.tags === 0 && of.options === 0;
        expect(locateUsualChecksum(words, at * 4, bytes.length)).toBe(usual ? expected : 0);
      }),
    );
  });

  it('always agrees with locateChecksum when it takes the shorter way', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        fc.nat(64),
        fc.boolean(),
        (noise, length, likely) => {
          const bytes = noise.slice();
          if (likely) bytes.set([0x08, 0x00, 0x45], 12);
          if (likely) bytes.set([noise[20]! & 0x40, 0, 64, noise[23]! % 2 === 0 ? TCP : UDP], 20);
          const usual = locateUsualChecksum(new Uint32Array(bytes.buffer), 0, length);
          if (usual !== 0) expect(locateChecksum(bytes, 0, length)).toBe(usual);
        },
      ),
    );
  });

  it('reads nothing behind the length that it is given', () => {
    fc.assert(
      fc.property(packet, fc.nat(100), (of, cut) => {
        const { bytes, transport } = build(of);
        const length = Math.min(cut, transport + 7);
        expect(locateChecksum(bytes, 0, length)).toBe(0);
        expect(locateUsualChecksum(new Uint32Array(placed(bytes, 0).arena.buffer), 0, length)).toBe(0);
      }),
    );
  });

  it.each([
    ['a fragment', (bytes: Uint8Array) => bytes.set([0x20, 0x00], 20)],
    ['a later fragment', (bytes: Uint8Array) => bytes.set([0x00, 0x10], 20)],
    ['an IPv4 header shorter than it can be', (bytes: Uint8Array) => bytes.set([0x44], 14)],
    ['another protocol', (bytes: Uint8Array) => bytes.set([1], 23)],
    ['another ethertype', (bytes: Uint8Array) => bytes.set([0x08, 0x06], 12)],
  ])('finds none in %s', (_, change) => {
    const { bytes } = build({
      version: 4,
      protocol: TCP,
      options: 0,
      extensions: [],
      tags: 0,
      payload: new Uint8Array(20),
    });
    change(bytes);
    const { arena, words } = placed(bytes, 0);
    expect(locateChecksum(arena, 0, bytes.length)).toBe(0);
    expect(locateUsualChecksum(words, 0, bytes.length)).toBe(0);
  });

  it('gives up on three tags, and on more than 32 extension headers', () => {
    const of: Packet = {
      version: 6,
      protocol: TCP,
      options: 0,
      extensions: [],
      tags: 3,
      payload: new Uint8Array(300),
    };
    expect(locateChecksum(build(of).bytes, 0, build(of).bytes.length)).toBe(0);
    const extensions = Array.from({ length: 33 }, () => [60, 1] as const);
    const { bytes } = build({ ...of, tags: 0, extensions });
    expect(locateChecksum(bytes, 0, bytes.length)).toBe(0);
    const less = build({ ...of, tags: 0, extensions: extensions.slice(1) });
    expect(locateChecksum(less.bytes, 0, less.bytes.length)).toBe(less.transport | (16 << 16));
  });

  it('follows extension headers that are longer than Linux looks', () => {
    const layers: Layer[] = [{ kind: 'ip6', chain: [[DESTINATION, 255]] }, { kind: 'tcp' }];
    const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(40), { checksum: 'partial' });
    expect(csumStart).toBe(14 + 40 + 2048);
    expect(locateChecksum(frame, 0, frame.length)).toBe(csumStart | (csumOffset << 16));
    expect(locateAsNetfront(frame, 0, frame.length)).toBe(0);
  });

  const LEGAL = [HOP_BY_HOP, ROUTING, DESTINATION, FRAGMENT, AUTHENTICATION, MOBILITY, SHIM6];
  const NETFRONT = LEGAL.slice(0, 5);

  it('passes over each extension header that may stand there, and over no other', () => {
    fc.assert(
      fc.property(
        tags(2, [0x8100, 0x88a8]),
        ip6Of([...LEGAL, EXPERIMENT]),
        transports,
        (tagged, ip, transport) => {
          const layers: Layer[] = [...tagged, ip, transport];
          const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(300), { checksum: 'partial' });
          const isKnown = ip.chain.every(([type]) => type !== EXPERIMENT);
          const expected = isKnown ? csumStart | (csumOffset << 16) : 0;
          expect(locateChecksum(frame, 0, frame.length)).toBe(expected);
        },
      ),
    );
  });

  it('finds as netfront does nothing behind a tag, and nothing behind extensions that netfront does not know', () => {
    const network = fc.oneof(ip4, ip6Of([...LEGAL, EXPERIMENT]));
    fc.assert(
      fc.property(tags(1), network, transports, (tagged, ip, transport) => {
        const layers: Layer[] = [...tagged, ip, transport];
        const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(300), { checksum: 'partial' });
        const isKnown = ip.kind === 'ip4' || ip.chain.every(([type]) => NETFRONT.includes(type));
        const fits = csumStart + (transport.kind === 'tcp' ? 20 : 8) <= 256;
        const expected = tagged.length === 0 && isKnown && fits ? csumStart | (csumOffset << 16) : 0;
        expect(locateAsNetfront(frame, 0, frame.length)).toBe(expected);
      }),
    );
  });

  it.each([
    ['of more fragments', 0, 1, false],
    ['with an offset', 0x10, 0, false],
    ['with an offset below 256', 0, 8, false],
    ['that is a whole datagram, as Windows sends it', 0, 0, true],
    ['with reserved bits set', 0, 6, true],
  ] as const)('behind a fragment header %s', (_name, high, low, found) => {
    const layers: Layer[] = [{ kind: 'ip6', chain: [[FRAGMENT, 0]] }, { kind: 'udp' }];
    const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(40), { checksum: 'partial' });
    frame.set([high, low], 56);
    const expected = found ? csumStart | (csumOffset << 16) : 0;
    expect(locateChecksum(frame, 0, frame.length)).toBe(expected);
    expect(locateAsNetfront(frame, 0, frame.length)).toBe(expected);
  });

  it('follows a chain no further than the payload length, as netfront does', () => {
    const layers: Layer[] = [{ kind: 'ip6', chain: [[DESTINATION, 0]] }, { kind: 'tcp' }];
    const { frame } = stacked(layers, payloadOf(40), { checksum: 'partial' });
    frame.set([0, 0], 18);
    expect(locateAsNetfront(frame, 0, frame.length)).toBe(0);
    const plain = stacked([{ kind: 'ip6' }, { kind: 'tcp' }], payloadOf(40), { checksum: 'partial' });
    plain.frame.set([0, 0], 18);
    expect(locateAsNetfront(plain.frame, 0, plain.frame.length)).toBe(54 | (16 << 16));
  });
});

describe('isUsualChecksum', () => {
  /** Bytes of the headers that it reads, and by which it tells a frame from a usual one. */
  const READ = [12, 13, 14, 20, 21, 22, 23];

  it('is true exactly where a vnet header names the checksum that locateUsualChecksum finds', () => {
    const seldom = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 1 });
    const changes = seldom(fc.tuple(fc.constantFrom(...READ), fc.nat(0xff)));
    const cuts = seldom(fc.nat(60));
    const starts = fc.oneof(fc.constant(34), fc.constantFrom(34, 35, 38, 0, 0xffff), fc.nat(0xffff));
    const places = fc.oneof(
      fc.constantFrom(16, 6),
      fc.constantFrom(16, 6, 17, 0, 0x110, 0xffff),
      fc.nat(0xffff),
    );
    const met = { usual: 0, 'named elsewhere': 0, 'not usual': 0 };
    const usual = packet.map((of) => ({ ...of, version: 4 as const, options: 0, tags: 0 }));
    fc.assert(
      fc.property(
        ...[fc.oneof(usual, usual, packet), changes, fc.nat(20), cuts, starts],
        ...[places, fc.nat(0xffff), fc.constantFrom(0, 0, 7, 0xffff)],
        (of, changed, at, cut, start, place, gsoBytes, buffers) => {
          const { bytes } = build(of);
          if (changed !== undefined) bytes[changed[0]] = changed[1];
          const { words } = placed(bytes, at * 4);
          const length = Math.min(cut ?? bytes.length, bytes.length);
          // A Uint32Array has the words of a vnet header, so they are no negative numbers.
          const second = (gsoBytes | (start << 16)) >>> 0;
          const third = (place | (buffers << 16)) >>> 0;
          const where = locateUsualChecksum(words, at * 4, length);
          const isUsual = where !== 0 && where === vnetChecksum(second, third);
          expect(isUsualChecksum(words, at * 4, length, second, third)).toBe(isUsual);
          met[isUsual ? 'usual' : where !== 0 ? 'named elsewhere' : 'not usual']++;
        },
      ),
      { numRuns: 2000 },
    );
    for (const [what, times] of Object.entries(met)) expect(times, what).toBeGreaterThan(30);
  });

  it.each([
    ['TCP', TCP, 16, 54],
    ['UDP', UDP, 6, 42],
  ])('wants the whole header of %s in the frame', (_, protocol, place, least) => {
    const payload = new Uint8Array(20);
    const { bytes } = build({ version: 4, protocol, options: 0, extensions: [], tags: 0, payload });
    const { words } = placed(bytes, 0);
    expect(isUsualChecksum(words, 0, least, 34 << 16, place)).toBe(true);
    expect(isUsualChecksum(words, 0, least - 1, 34 << 16, place)).toBe(false);
  });
});

describe('lengthsHold', () => {
  const wrong = (version: 4 | 6, transport: 'tcp' | 'udp', change: number) => {
    const layers: Layer[] = [version === 4 ? { kind: 'ip4' } : { kind: 'ip6' }, { kind: transport }];
    const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(40), { checksum: 'partial' });
    const field = version === 4 ? 16 : 18;
    const length = change === 0 ? 0 : (frame[field]! << 8) + frame[field + 1]! + change;
    frame.set([length >>> 8, length & 0xff], field);
    return lengthsHold(
      frame,
      0,
      frame.length,
      networkHeader(frame, 0, frame.length),
      csumStart | (csumOffset << 16),
    );
  };

  it.each([4, 6] as const)('takes padding, and a length of 0: IPv%i', (version) => {
    for (const transport of ['tcp', 'udp'] as const)
      for (const change of [0, -1, -40]) expect(wrong(version, transport, change)).toBe(true);
  });

  it.each([4, 6] as const)(
    'refuses a datagram beyond its frame, and a checksum beyond its datagram: IPv%i',
    (version) => {
      for (const transport of ['tcp', 'udp'] as const)
        for (const change of [1, 1000, -41]) expect(wrong(version, transport, change)).toBe(false);
    },
  );
});

describe('writePseudoChecksum and completeChecksum', () => {
  it('together give the checksum of RFC 1071, for every kind of frame', () => {
    fc.assert(
      fc.property(packet, fc.nat(20), (of, at) => {
        const built = build(of);
        const { arena } = placed(built.bytes, at);
        const where = locateChecksum(arena, at, built.bytes.length);
        const offset = where >>> 16;
        const field = at + built.transport + offset;

        writePseudoChecksum(arena, at, where, built.bytes.length);
        const partial = (arena[field]! << 8) | arena[field + 1]!;
        expect(partial).toBe(naiveSum(pseudoHeader(built, of.protocol)));

        completeChecksum(arena, at, built.bytes.length, built.transport, offset);
        const segment = built.bytes.subarray(built.transport);
        const expected = ~naiveSum(pseudoHeader(built, of.protocol), segment) & 0xffff;
        const written = (arena[field]! << 8) | arena[field + 1]!;
        expect(written).toBe(expected === 0 && of.protocol === UDP ? 0xffff : expected);

        const others = placed(built.bytes, at).arena;
        others.set(arena.subarray(field, field + 2), field);
        expect(arena).toEqual(others);
      }),
    );
  });

  it('does not write behind the frame', () => {
    const bytes = new Uint8Array(40).fill(7);
    completeChecksum(bytes, 0, 40, 30, 9);
    expect(bytes).toEqual(new Uint8Array(40).fill(7));
  });
});

describe('tcpHeaderEnd', () => {
  it('is 0 for a header that does not fit', () => {
    const bytes = new Uint8Array(100);
    bytes[34 + 12] = 0x80;
    expect(tcpHeaderEnd(bytes, 0, 66, 34)).toBe(66);
    expect(tcpHeaderEnd(bytes, 0, 65, 34)).toBe(0);
    expect(tcpHeaderEnd(bytes, 0, 53, 34)).toBe(0);
    bytes[34 + 12] = 0x40;
    expect(tcpHeaderEnd(bytes, 0, 100, 34)).toBe(0);
  });
});
