import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Segments } from '../../lib/protocol/segment.js';
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
  segmentsOf,
  stacked,
  tags,
  transports,
} from '../stacked-frames.js';

const KNOWN = [HOP_BY_HOP, ROUTING, DESTINATION, FRAGMENT, AUTHENTICATION, MOBILITY, SHIM6];

const ip = fc.oneof(ip4, ip6Of(KNOWN), ip6Of([DESTINATION, EXPERIMENT]));
/** Headers in a tunnel: `Segments` does not look behind an unknown extension header, nor where a routing header leads. */
const outerIp = fc.oneof(ip4, ip6Of([HOP_BY_HOP, DESTINATION, FRAGMENT, AUTHENTICATION, MOBILITY]));
const links = fc.oneof(
  fc.constant<Layer[]>([]),
  fc.constant<Layer[]>([{ kind: 'pppoe' }]),
  fc.integer({ min: 1, max: 3 }).map((labels): Layer[] => [{ kind: 'mpls', labels }]),
);
const tunnels = fc.oneof(
  fc.constant<Layer[]>([]),
  ip4.map((outer): Layer[] => [outer]),
  ip6Of([DESTINATION]).map((outer): Layer[] => [outer]),
  fc.tuple(outerIp, fc.boolean()).map(([outer, checksum]): Layer[] => [outer, { kind: 'vxlan', checksum }]),
  fc
    .tuple(outerIp, fc.constantFrom(0, 0x2000))
    .map(([outer, flags]): Layer[] => [outer, { kind: 'gre', flags }]),
);
const stacks = fc
  .tuple(tags(3), links, tunnels, ip, transports)
  .map(([tagged, link, tunnel, inner, transport]): Layer[] => [
    ...tagged,
    ...link,
    ...tunnel,
    inner,
    transport,
  ])
  // Inside a tunnel that is not looked into, only an IP header without extension headers is found.
  .filter((layers) => {
    const opaque = layers.some((layer) => layer.kind === 'vxlan' || layer.kind === 'gre' || isUnknown(layer));
    const inner = layers.at(-2)!;
    const depth = layers.filter(({ kind }) => kind === 'ip4' || kind === 'ip6').length;
    return !(opaque && depth > 1) || (inner.kind === 'ip6' ? inner.chain!.length === 0 : true);
  });

function isUnknown(layer: Layer): boolean {
  return layer.kind === 'ip6' && (layer.chain ?? []).some(([type]) => type === EXPERIMENT);
}

const AT = 20_000;

/** @returns all segments, written within a larger memory. */
function cut(
  frame: Uint8Array,
  csumStart: number,
  csumOffset: number,
  gsoBytes: number,
): string[] | undefined {
  const arena = new Uint8Array(30_000).fill(0xee);
  arena.set(frame, 32);
  const segments = new Segments();
  if (!segments.plan(arena, 32, frame.length, csumStart, csumOffset, gsoBytes)) return undefined;
  return Array.from({ length: segments.count }, (_, index) => {
    const length = segments.write(arena, index, arena, AT);
    const segment = hex(arena.subarray(AT, AT + length));
    const behind = arena.subarray(AT + length, AT + length + 8);
    if (length !== segments.bytesOf(index) || behind.some((byte) => byte !== 0xee))
      throw new Error(`segment ${index} is not of ${length} bytes`);
    arena.fill(0xee, AT, AT + length);
    return segment;
  });
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const expectedOf = (layers: readonly Layer[], payload: readonly number[], gsoBytes: number) =>
  segmentsOf(layers, payload, gsoBytes).map(hex);

describe('segments', () => {
  it('are what the sender would have sent, behind any tags, tunnels and extension headers', () => {
    fc.assert(
      fc.property(
        stacks,
        fc.integer({ min: 30, max: 700 }),
        fc.nat(1800),
        (layers, gsoBytes, payloadBytes) => {
          const payload = payloadOf(payloadBytes);
          const { frame, csumStart, csumOffset } = stacked(layers, payload, { checksum: 'partial' });
          expect(cut(frame, csumStart, csumOffset, gsoBytes)).toEqual(expectedOf(layers, payload, gsoBytes));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('of a frame with a complete checksum are the same', () => {
    for (const inner of [
      { kind: 'ip4', options: 8 },
      { kind: 'ip6', chain: [[DESTINATION, 1]] },
    ] as Layer[]) {
      const layers: Layer[] = [{ kind: 'tag', type: 0x8100 }, inner, { kind: 'tcp', options: 12 }];
      const payload = payloadOf(2500);
      const { frame } = stacked(layers, payload, { checksum: 'complete' });
      expect(cut(frame, 0, 0, 1000)).toEqual(expectedOf(layers, payload, 1000));
    }
  });

  it.each([
    ['no segment size', { gsoBytes: 0 }],
    ['csum_start in the IP header', { csumStart: 20 }],
    ['csum_start beyond the frame', { csumStart: 5000 }],
    ['a data offset below 5', { change: (frame: Uint8Array) => frame.set([0x40], 34 + 12) }],
    [
      'a TCP header beyond the frame',
      { payload: 4, change: (frame: Uint8Array) => frame.set([0xf0], 34 + 12) },
    ],
    ['another checksum', { csumOffset: 8 }],
  ] as const)('are none for %s', (_name, given) => {
    const {
      payload = 1000,
      gsoBytes = 400,
      csumOffset = 16,
      csumStart = 34,
      change,
    } = {
      change: undefined,
      ...given,
    } as {
      payload?: number;
      gsoBytes?: number;
      csumOffset?: number;
      csumStart?: number;
      change?: (f: Uint8Array) => void;
    };
    const { frame } = stacked([{ kind: 'ip4' }, { kind: 'tcp' }], payloadOf(payload), {
      checksum: 'partial',
    });
    change?.(frame);
    expect(cut(frame, csumStart, csumOffset, gsoBytes)).toBeUndefined();
  });

  it('are none behind a tunnel that counts its packets', () => {
    for (const flags of [0x8000, 0x1000]) {
      const layers: Layer[] = [{ kind: 'ip4' }, { kind: 'gre', flags }, { kind: 'ip4' }, { kind: 'tcp' }];
      const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(900), { checksum: 'partial' });
      expect(cut(frame, csumStart, csumOffset, 400)).toBeUndefined();
    }
  });

  it('of noise are none, or end', () => {
    const noise = fc.uint8Array({ minLength: 14, maxLength: 400 });
    fc.assert(
      fc.property(
        noise,
        fc.nat(420),
        fc.constantFrom(6, 16),
        fc.nat(100),
        (bytes, csumStart, csumOffset, gsoBytes) => {
          const segments = cut(bytes, csumStart, csumOffset, gsoBytes);
          if (segments === undefined) return;
          const payload = segments.reduce((sum, { length }) => sum + length / 2, 0);
          expect(payload).toBeGreaterThanOrEqual(bytes.length);
        },
      ),
      { numRuns: 200 },
    );
  });
});
