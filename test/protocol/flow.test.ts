import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  HASH_TYPE_IPV4,
  HASH_TYPE_IPV4_TCP,
  HASH_TYPE_IPV6,
  HASH_TYPE_IPV6_TCP,
  HASH_TYPES,
} from '../../lib/protocol/control.js';
import { flowOf, hashOfFlow, NO_HASH } from '../../lib/protocol/flow.js';
import { fillToeplitz, TOEPLITZ_WORDS } from '../../lib/protocol/toeplitz.js';
import { type FrameShape, frameOf, IPV4_VECTORS, IPV6_VECTORS, RSS_KEY } from './hash-vectors.js';

const TABLE = new Uint32Array(TOEPLITZ_WORDS);
fillToeplitz(RSS_KEY, TABLE);
const [V4] = IPV4_VECTORS;
const [V6] = IPV6_VECTORS;
const [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION] = [0, 43, 44, 60];
const UDP = 17;

/** @returns which hash a frame gets, and the hash. */
function judge(frame: Uint8Array, wanted = HASH_TYPES): [type: number, hash: number] {
  // Frames do not begin where their memory does.
  const bytes = new Uint8Array(frame.length + 7);
  bytes.set(frame, 7);
  const flow = flowOf(bytes, 7, frame.length, wanted);
  return flow === NO_HASH ? [NO_HASH, 0] : [flow & HASH_TYPES, hashOfFlow(TABLE, bytes, 7, flow)];
}

describe('the hash of a frame', () => {
  it.each(IPV4_VECTORS)('over IPv4 is as published, $ofPorts', (vector) => {
    expect(judge(frameOf(vector))).toEqual([HASH_TYPE_IPV4_TCP, vector.ofPorts]);
    expect(judge(frameOf(vector), HASH_TYPE_IPV4)).toEqual([HASH_TYPE_IPV4, vector.ofAddresses]);
  });

  it.each(IPV6_VECTORS)('over IPv6 is as published, $ofPorts', (vector) => {
    expect(judge(frameOf(vector))).toEqual([HASH_TYPE_IPV6_TCP, vector.ofPorts]);
    expect(judge(frameOf(vector), HASH_TYPE_IPV6)).toEqual([HASH_TYPE_IPV6, vector.ofAddresses]);
  });

  const ofAddresses: [string, FrameShape][] = [
    ['UDP', { protocol: UDP }],
    ['a first fragment', { fragment: 0x2000 }],
    ['a later fragment', { fragment: 0x00b9 }],
  ];
  it.each(ofAddresses)('of %s has no ports', (_name, shape) => {
    expect(judge(frameOf(V4, shape))).toEqual([HASH_TYPE_IPV4, V4.ofAddresses]);
    expect(judge(frameOf(V4, shape), HASH_TYPE_IPV4_TCP)).toEqual([NO_HASH, 0]);
  });

  it('finds the ports behind options, tags and extension headers', () => {
    expect(judge(frameOf(V4, { optionWords: 10, tags: 2 }))).toEqual([HASH_TYPE_IPV4_TCP, V4.ofPorts]);
    const extensions = [
      [HOP_BY_HOP, 0],
      [ROUTING, 2],
      [DESTINATION, 1],
    ] as const;
    expect(judge(frameOf(V6, { extensions, tags: 1 }))).toEqual([HASH_TYPE_IPV6_TCP, V6.ofPorts]);
  });

  it('of an IPv6 fragment, or behind extensions without end, has no ports', () => {
    const fragment = frameOf(V6, { extensions: [[FRAGMENT, 0]] });
    expect(judge(fragment)).toEqual([HASH_TYPE_IPV6, V6.ofAddresses]);
    const many = frameOf(V6, { extensions: Array.from({ length: 100 }, () => [DESTINATION, 0] as const) });
    expect(judge(many)).toEqual([HASH_TYPE_IPV6, V6.ofAddresses]);
  });

  it('is only of what the guest asks for', () => {
    expect(judge(frameOf(V4), HASH_TYPE_IPV6 | HASH_TYPE_IPV6_TCP)).toEqual([NO_HASH, 0]);
    expect(judge(frameOf(V6), HASH_TYPE_IPV4 | HASH_TYPE_IPV4_TCP)).toEqual([NO_HASH, 0]);
    expect(judge(frameOf(V4), 0)).toEqual([NO_HASH, 0]);
    expect(judge(frameOf(V4, { tags: 3 }))).toEqual([NO_HASH, 0]);
  });

  it('reads nothing outside the frame, whatever stands there', () => {
    const cut = fc.nat(80);
    const noise = fc.uint8Array({ maxLength: 80 });
    const whole = fc.constantFrom(frameOf(V4), frameOf(V6, { extensions: [[ROUTING, 31]] }));
    fc.assert(
      fc.property(whole, cut, noise, (frame, length, behind) => {
        const end = Math.min(length, frame.length);
        const bytes = new Uint8Array(end + behind.length);
        bytes.set(frame.subarray(0, end));
        bytes.set(behind, end);
        const alone = flowOf(bytes.slice(0, end), 0, end, HASH_TYPES);
        expect(flowOf(bytes, 0, end, HASH_TYPES)).toBe(alone);
        if (alone !== NO_HASH)
          expect(hashOfFlow(TABLE, bytes, 0, alone)).toBe(hashOfFlow(TABLE, bytes.slice(0, end), 0, alone));
      }),
    );
  });
});
