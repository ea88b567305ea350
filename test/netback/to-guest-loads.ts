import * as fc from 'fast-check';
import { VNET_HEADER_BYTES, writeVnetBytes } from '../../lib/protocol/vnet.js';

/** Frames for the guest, and what else happens to a queue in the to-guest direction: for tests that compare two ways through it. */

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const MACS = [0, 0x16, 0x3e, 0, 0, 7, 2, 0, 0, 0, 0, 0];
/** The last byte of the source address, by which a hook of the test chooses its verdict. */
export const CHOICE_AT = 11;

/** Headers behind the addresses; a frame of kind `multicast` differs from `udp4` in its destination. */
const HEADERS = {
  tcp4: ipv4(TCP),
  udp4: ipv4(UDP),
  icmp4: ipv4(ICMP),
  multicast: ipv4(UDP),
  'more fragments': ipv4(TCP, 0x2000),
  'a later fragment': ipv4(UDP, 0x0100),
  options: [8, 0, 0x46, ...ipv4(TCP).slice(3), 1, 1, 1, 0],
  tagged: [0x81, 0, 0, 5, ...ipv4(TCP)],
  tcp6: [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, 64, ...Array(32).fill(3)],
  udp6: [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, UDP, 64, ...Array(32).fill(3)],
  noise: [0x12, 0x34],
};
export type Kind = keyof typeof HEADERS;
const KINDS = Object.keys(HEADERS) as Kind[];

function ipv4(protocol: number, fragment = 0): number[] {
  const first = [0x45, 0, 0, 46, 0, 0, fragment >>> 8, fragment & 0xff];
  return [8, 0, ...first, 64, protocol, 0, 0, ...Array(8).fill(10)];
}

export interface Sent {
  readonly kind: Kind;
  readonly bytes: number;
  /** By how much the port moves the frame from where the batch wants it: a multiple of 2. */
  readonly shift: number;
  readonly choice: number;
  /** The fields of the vnet header. */
  readonly flags: number;
  readonly gso: number;
  readonly gsoBytes: number;
  readonly start: number;
  readonly place: number;
  readonly buffers: number;
}

/** Returns the frame behind its vnet header. */
export function build(sent: Sent): Uint8Array {
  const { kind, bytes, choice, flags, gso, gsoBytes, start, place, buffers } = sent;
  const all = new Uint8Array(VNET_HEADER_BYTES + bytes);
  writeVnetBytes(all, 0, flags | (gso << 8), gsoBytes | (start << 16), place | (buffers << 16));
  const frame = all.subarray(VNET_HEADER_BYTES);
  for (let i = 0; i < bytes; i++) frame[i] = (i * 31 + choice) & 0xff;
  const headers = [...MACS, ...HEADERS[kind]];
  headers[CHOICE_AT] = choice;
  if (kind === 'multicast') headers[0] = 1;
  // The length of a TCP header: without it no segment can be made.
  const tcp: Partial<Record<Kind, number>> = { tcp4: 34, options: 38, tagged: 38, tcp6: 54 };
  const transport = tcp[kind];
  frame.set(headers.slice(0, bytes));
  if (transport !== undefined && transport + 13 < bytes) frame[transport + 12] = 0x50;
  return all;
}

const choice = fc.nat(0xff);
const shift = fc.constantFrom(0, 0, 0, 0, 4, 64, 1000);
const shortBytes = fc.oneof(
  fc.constantFrom(1, 14, 41, 42, 53, 54, 60, 1514, 4095, 4096),
  fc.integer({ min: 1, max: 4096 }),
);
const NO_OFFLOAD = { flags: 0, gso: 0, gsoBytes: 0, start: 0, place: 0, buffers: 0 };

/** Plain, unless the guest cannot take its partial checksum. */
export const plainFrame: fc.Arbitrary<Sent> = fc
  .record({
    kind: fc.constantFrom<Kind>('tcp4', 'udp4', 'tcp4', 'udp4', 'icmp4', 'tcp6', 'noise', 'tagged'),
    ...{ bytes: shortBytes, shift, choice, flags: fc.nat(7), buffers: fc.constantFrom(0, 0, 7) },
    gsoBytes: fc.constantFrom(0, 1448),
  })
  .map((sent) => {
    const isTcp = sent.kind === 'tcp4';
    const isUsual = (isTcp && sent.bytes >= 54) || (sent.kind === 'udp4' && sent.bytes >= 42);
    const flags = isUsual ? sent.flags : sent.flags & ~1;
    return { ...sent, flags, gso: 0, start: 34, place: isTcp ? 16 : 6 };
  });

/** With any offload at all, at places of which few are right. */
const oddFrame: fc.Arbitrary<Sent> = fc.record({
  kind: fc.constantFrom(...KINDS),
  bytes: fc.oneof(shortBytes, fc.constantFrom(4097, 9014, 65_553)),
  shift: fc.oneof(shift, fc.constantFrom(2, 6, 66)),
  ...{ choice, flags: fc.nat(7), gso: fc.constantFrom(0, 0, 0, 1, 3, 4, 5, 0x80, 0x81, 0x84) },
  gsoBytes: fc.constantFrom(0, 1, 536, 1448),
  start: fc.constantFrom(34, 34, 38, 54, 14, 0, 0xffff),
  place: fc.constantFrom(16, 6, 0, 17, 0xffff),
  buffers: fc.constantFrom(0, 7),
});

/** Of one of the kinds that are not plain, and otherwise as plain frames are. */
const exception: fc.Arbitrary<Sent> = fc
  .record({ frame: plainFrame, what: fc.nat(10), gsoBytes: fc.constantFrom(536, 1448) })
  .map(({ frame, what, gsoBytes }) => {
    const tcp4: Sent = { ...frame, kind: 'tcp4', start: 34, place: 16 };
    const tcp6: Sent = { ...frame, kind: 'tcp6', start: 54, place: 16 };
    const exceptions: Sent[] = [
      { ...tcp4, ...{ bytes: 9014, flags: 1, gso: 1, gsoBytes } },
      { ...tcp4, ...{ bytes: 3000, flags: 1, gso: 0x81, gsoBytes } },
      { ...tcp4, ...{ bytes: 200, flags: 1, gso: 0x80 } },
      { ...tcp6, ...{ bytes: 6000, flags: 1, gso: 4, gsoBytes } },
      { ...frame, shift: 2 },
      { ...frame, ...NO_OFFLOAD, bytes: 4097 },
      { ...tcp6, bytes: 200, flags: 1 },
      { ...tcp4, bytes: 200, flags: 1, place: 6 },
      { ...tcp4, bytes: 53, flags: 1 },
      { ...frame, kind: 'tagged', bytes: 200, flags: 1, start: 38, place: 16 },
      { ...frame, kind: 'more fragments', bytes: 200, flags: 1, start: 34, place: 16 },
    ];
    return exceptions[what];
  });

/** With GSO, or longer than a page: usual for a guest that takes GSO, and segments for others. */
const longFrame: fc.Arbitrary<Sent> = fc
  .record({
    frame: plainFrame,
    kind: fc.constantFrom<Kind>('tcp4', 'tcp6', 'udp4'),
    bytes: fc.constantFrom(200, 4096, 4097, 8192, 8193, 9014, 65_549),
    gsoBytes: fc.constantFrom(536, 1448),
  })
  .map(({ frame, kind, bytes, gsoBytes }) => {
    if (kind === 'udp4') return { ...frame, ...NO_OFFLOAD, kind, bytes, flags: frame.flags & 2 };
    const [gso, start] = kind === 'tcp4' ? [1, 34] : [4, 54];
    return { ...frame, ...{ kind, bytes, flags: 1, gso, gsoBytes, start, place: 16 } };
  });

export interface Round {
  /** The queue that the port chooses for the frames. */
  readonly queue: 0 | 1;
  readonly frames: readonly Sent[];
  /** How many buffers the guest posts to each queue before the frames arrive. */
  readonly buffers: number;
  /** Which of them has a grant that is not there. */
  readonly badBuffer: number | undefined;
  /** How far behind the published responses the guest wants an event. */
  readonly notifiesAt: number;
  readonly headroom: number;
  /** Whether the guest wants frames hashed; undefined: as before. */
  readonly hashes: boolean | undefined;
  readonly hook: boolean;
  readonly filter: boolean;
  /** How many of the next copies the host fails. */
  readonly copyFails: number;
  /** Ends the process at the first copy of the round, and starts the next one. */
  readonly kill: 'before' | 'after' | undefined;
  readonly advanceMs: number;
}

export interface Load {
  /** The index at which the rings begin. */
  readonly start: number;
  readonly queues: 1 | 2;
  readonly rounds: readonly Round[];
  readonly grantFailsEvery: number | undefined;
  readonly guest: {
    readonly scatterGather: boolean;
    readonly checksumV4: boolean;
    readonly checksumV6: boolean;
    readonly gsoV4: boolean;
    readonly gsoV6: boolean;
  };
  /** Whether the port writes 0 where it may leave the words of a frame as they are. */
  readonly portClears: boolean;
}

/** Undefined in most cases. */
function seldom<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

const frames: fc.Arbitrary<Sent[]> = fc.oneof(
  { weight: 5, arbitrary: fc.array(plainFrame, { minLength: 1, maxLength: 12 }) },
  { weight: 2, arbitrary: fc.array(plainFrame, { minLength: 1, maxLength: 100, size: 'max' }) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.array(plainFrame, { maxLength: 8 }), exception, fc.array(plainFrame, { maxLength: 8 }))
      .map(([before, odd, after]) => [...before, odd, ...after]),
  },
  {
    weight: 3,
    arbitrary: fc.array(fc.oneof(longFrame, longFrame, plainFrame), { minLength: 1, maxLength: 14 }),
  },
  { weight: 1, arbitrary: fc.array(oddFrame, { minLength: 1, maxLength: 6 }) },
);

const round: fc.Arbitrary<Round> = fc.record({
  queue: fc.constantFrom(0, 0, 1),
  frames,
  buffers: fc.oneof(fc.constant(256), fc.integer({ min: 0, max: 256 }), fc.nat(20)),
  badBuffer: seldom(fc.nat(5)),
  notifiesAt: fc.integer({ min: 1, max: 30 }),
  headroom: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 192),
  hashes: seldom(fc.boolean()),
  hook: fc.constantFrom(false, false, false, true),
  filter: fc.constantFrom(false, false, false, true),
  copyFails: fc.constantFrom(0, 0, 0, 0, 0, 1, 2),
  kill: seldom(fc.constantFrom('before', 'after')),
  advanceMs: fc.constantFrom(0, 0, 11, 11_000),
});

export const load: fc.Arbitrary<Load> = fc.record({
  start: fc.oneof(
    fc.constantFrom(0, 0x7fff_ffff, 0xffff_ffff, 0xffff_fffa, 0xffff_fff0, 0xffff_ffe0),
    fc.integer({ min: 0, max: 0xffff_ffff }),
  ),
  queues: fc.constantFrom(1, 1, 2),
  rounds: fc.array(round, { minLength: 1, maxLength: 5 }),
  grantFailsEvery: fc.option(fc.integer({ min: 2, max: 60 }), { nil: undefined, freq: 2 }),
  guest: fc.oneof(
    fc.constant({ scatterGather: true, checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true }),
    fc.constant({ scatterGather: true, checksumV4: true, checksumV6: false, gsoV4: false, gsoV6: false }),
    fc.record({
      scatterGather: fc.boolean(),
      checksumV4: fc.boolean(),
      checksumV6: fc.boolean(),
      gsoV4: fc.boolean(),
      gsoV6: fc.boolean(),
    }),
  ),
  portClears: fc.boolean(),
});
