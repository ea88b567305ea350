import { afterEach, describe, expect, it } from 'vitest';
import { pair } from '../../lib/ports/pair.js';
import type { Port } from '../../lib/ports/port.js';
import * as netif from '../../lib/protocol/netif.js';
import {
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_ECN,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
} from '../../lib/protocol/vnet.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { openEnd, send } from '../../worlds/port-end.js';
import {
  AUTHENTICATION,
  DESTINATION,
  EXPERIMENT,
  FRAGMENT,
  HOP_BY_HOP,
  type Layer,
  MOBILITY,
  payloadOf,
  ROUTING,
  segmentsOf,
  stacked,
} from '../stacked-frames.js';

const { RX_FLAG_CSUM_BLANK, RX_FLAG_DATA_VALIDATED, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA } = netif;
const TAG: Layer = { kind: 'tag', type: 0x8100 };
const PROVIDER_TAG: Layer = { kind: 'tag', type: 0x88a8 };
const TCP: Layer = { kind: 'tcp', options: 12 };
const UDP: Layer = { kind: 'udp' };
const IP4: Layer = { kind: 'ip4' };
const IP6: Layer = { kind: 'ip6' };
const ip6 = (...types: number[]): Layer => ({ kind: 'ip6', chain: types.map((type) => [type, 0] as const) });

/** The checksum that Linux's netfront finds by itself. */
const EXPRESSIBLE: ReadonlyArray<readonly [string, readonly Layer[]]> = [
  ['TCP over IPv4', [IP4, TCP]],
  ['UDP over IPv4', [IP4, UDP]],
  ['TCP over IPv4 with options', [{ kind: 'ip4', options: 40 }, TCP]],
  ['TCP over IPv6', [IP6, TCP]],
  ['UDP over IPv6', [IP6, UDP]],
  ['UDP behind hop-by-hop, routing and destination', [ip6(HOP_BY_HOP, ROUTING, DESTINATION), UDP]],
  ['TCP behind a fragment header that is none', [ip6(FRAGMENT), TCP]],
  ['UDP behind an authentication header', [ip6(AUTHENTICATION), UDP]],
];

const INEXPRESSIBLE: ReadonlyArray<readonly [string, readonly Layer[]]> = [
  ['one tag, TCP over IPv4', [TAG, IP4, TCP]],
  ['one tag, UDP over IPv6', [TAG, IP6, UDP]],
  ['a provider tag', [PROVIDER_TAG, IP4, TCP]],
  ['a tag of 0x9100', [{ kind: 'tag', type: 0x9100 }, IP4, TCP]],
  ['two tags', [PROVIDER_TAG, TAG, IP6, TCP]],
  ['three tags', [PROVIDER_TAG, TAG, TAG, IP4, UDP]],
  ['VXLAN', [IP4, { kind: 'vxlan' }, IP4, TCP]],
  ['VXLAN with a checksum of its own, over IPv6', [IP6, { kind: 'vxlan', checksum: true }, IP4, UDP]],
  ['GRE', [IP4, { kind: 'gre' }, IP6, TCP]],
  ['IP in IP', [IP4, IP4, TCP]],
  ['IPv6 in IPv4', [IP4, IP6, TCP]],
  ['PPPoE', [{ kind: 'pppoe' }, IP4, TCP]],
  ['MPLS', [{ kind: 'mpls', labels: 2 }, IP4, TCP]],
  ['an unknown extension header', [ip6(EXPERIMENT), TCP]],
  ['a mobility header', [ip6(MOBILITY), TCP]],
  ['headers of more than 256 bytes', [ip6(...Array(23).fill(DESTINATION)), TCP]],
];

const inline = ([kind, gso]: readonly [number, number], csumStart: number, csumOffset: number) => [
  VNET_FLAG_NEEDS_CSUM | (kind << 8),
  (gso | (csumStart << 16)) >>> 0,
  csumOffset,
];

describe.each(MACHINES)('offloads for a guest that takes all, on %s', (_machine, machine) => {
  let world: World;
  let guest: RawGuest;
  afterEach(() => world.close());

  async function start(options: { keys?: Record<string, string>; port?: () => Port } = {}): Promise<void> {
    world = await World.open(machine());
    guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, options.keys ?? {}));
    await world.start('copy', [], options.port === undefined ? {} : { port: options.port });
    guest.post(Array.from({ length: 200 }, (_, page) => guest.ref(page)));
    await world.settle();
  }

  async function put(
    layers: readonly Layer[],
    payload: readonly number[],
    gso: readonly [number, number] = [0, 0],
  ) {
    const { frame, csumStart, csumOffset } = stacked(layers, payload, { checksum: 'partial' });
    world.port('vif7.0').put(frame, inline(gso, csumStart, csumOffset));
    await world.settle();
    return frame;
  }

  /** @returns the frames that the guest has, with the flags of their first slots. */
  function frames(): Array<{ flags: number; bytes: string }> {
    const got: Array<{ flags: number; bytes: string }> = [];
    const pieces: Uint8Array[] = [];
    let flags = -1;
    let extra = false;
    guest.rxResponses().forEach(({ flags: slotFlags, status }, page) => {
      if (extra) {
        extra = false;
        return;
      }
      if (flags < 0) {
        flags = slotFlags;
        extra = (slotFlags & RX_FLAG_EXTRA_INFO) !== 0;
      }
      pieces.push(guest.pages.bytes.slice(page * 4096, page * 4096 + status));
      if ((slotFlags & RX_FLAG_MORE_DATA) !== 0) return;
      got.push({ flags: flags & ~RX_FLAG_MORE_DATA, bytes: hex(Buffer.concat(pieces.splice(0))) });
      flags = -1;
    });
    return got;
  }

  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  const stats = () => world.netback.vifs.get('vif7.0')!.stats.toGuest;

  it.each(EXPRESSIBLE)('leave it what its netfront finds: %s', async (_name, layers) => {
    await start();
    const frame = await put(layers, payloadOf(100));
    expect(frames()).toEqual([{ flags: RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED, bytes: hex(frame) }]);
    if (layers.at(-1)!.kind === 'udp') return;
    const kind = layers[0]!.kind === 'ip4' ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
    const long = await put(layers, payloadOf(3000), [kind, 1000]);
    expect(frames()[1]).toEqual({
      flags: RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED | RX_FLAG_EXTRA_INFO,
      bytes: hex(long),
    });
  });

  it.each(INEXPRESSIBLE)('are done before netfront would drop the frame: %s', async (_name, layers) => {
    await start();
    const payload = payloadOf(101);
    await put(layers, payload);
    const [whole] = segmentsOf(layers, payload, 4000);
    expect(frames()).toEqual([{ flags: RX_FLAG_DATA_VALIDATED, bytes: hex(whole!) }]);
    const kind =
      layers.at(-1)!.kind === 'udp'
        ? VNET_GSO_UDP_L4
        : layers.at(-2)!.kind === 'ip4'
          ? VNET_GSO_TCPV4
          : VNET_GSO_TCPV6;
    await put(layers, payloadOf(3001), [kind, 1000]);
    const segments = segmentsOf(layers, payloadOf(3001), 1000);
    expect(frames().slice(1)).toEqual(
      segments.map((one) => ({ flags: RX_FLAG_DATA_VALIDATED, bytes: hex(one) })),
    );
    const bytes = segments.reduce((sum, { length }) => sum + length, whole!.length);
    expect(stats()).toMatchObject({ frames: 5, bytes, dropped: 0 });
  });

  it.each([
    ['UDP, for which netif has no kind', [IP4, UDP], VNET_GSO_UDP_L4],
    ['ECN, which netif cannot express', [IP6, TCP], VNET_GSO_TCPV6 | VNET_GSO_ECN],
    ['the type of the other IP version', [IP4, TCP], VNET_GSO_TCPV6],
  ] as const)('do not include segmenting of %s', async (_name, layers, kind) => {
    await start();
    await put(layers, payloadOf(3000), [kind, 1000]);
    const expected = segmentsOf(layers, payloadOf(3000), 1000);
    expect(frames()).toEqual(expected.map((one) => ({ flags: RX_FLAG_DATA_VALIDATED, bytes: hex(one) })));
  });

  it.each([
    ['no segment size', VNET_GSO_TCPV4, 0, (_frame: Uint8Array) => {}],
    ['a kind that is not known', 3, 1000, (_frame: Uint8Array) => {}],
    ['a data offset of 4', VNET_GSO_TCPV4, 1000, (frame: Uint8Array) => frame.set([0x40], 46)],
    ['segments of a byte', VNET_GSO_TCPV4, 1, (frame: Uint8Array) => frame.set([0x81, 0, 0, 1], 12)],
  ])('are refused, and the frame is counted: %s', async (_name, kind, gsoBytes, change) => {
    await start();
    const { frame } = stacked([IP4, TCP], payloadOf(3000), { checksum: 'partial' });
    change(frame);
    world.port('vif7.0').put(frame, inline([kind, gsoBytes], 34, 16));
    await world.settle();
    expect(frames()).toEqual([]);
    expect(stats()).toMatchObject({ frames: 0, dropped: 1 });
  });

  it('are refused for a checksum beyond the frame', async () => {
    await start();
    world.port('vif7.0').put(Uint8Array.from(payloadOf(60)), inline([0, 0], 50, 16));
    await world.settle();
    expect(stats()).toMatchObject({ frames: 0, dropped: 1 });
  });

  it('include checksums at any place: of SCTP, of a fragment, of what is no IP', async () => {
    await start();
    for (const [csumStart, csumOffset] of [
      [34, 8],
      [20, 1],
      [15, 0],
    ] as const) {
      const frame = Uint8Array.from(payloadOf(201));
      frame.set([0, 0], csumStart + csumOffset);
      world.port('vif7.0').put(frame, inline([0, 0], csumStart, csumOffset));
      await world.settle();
      const { flags, bytes } = frames().at(-1)!;
      expect(flags).toBe(RX_FLAG_DATA_VALIDATED);
      // A complete sum is all ones.
      const summed = Buffer.from(bytes, 'hex').subarray(csumStart);
      let sum = 0;
      for (let i = 0; i < summed.length; i += 2) sum += summed[i]! * 256 + (summed[i + 1] ?? 0);
      expect(csumOffset % 2 === 0 ? sum % 0xffff : 0).toBe(0);
    }
  });

  it('are done for frames of the other end of a pair too', async () => {
    const [a, b] = pair();
    await start({ port: () => a });
    const end = openEnd(b, (bytes) => new ModelHypervisor().open(0).grants.arena(bytes));
    for (const layers of [
      [TAG, IP4, TCP],
      [PROVIDER_TAG, TAG, IP6, TCP],
    ] as const) {
      const { frame, csumStart, csumOffset } = stacked(layers, payloadOf(2500), { checksum: 'partial' });
      const kind = layers.includes(IP4 as never) ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
      const header = new Uint8Array(12);
      new Uint32Array(header.buffer).set(inline([kind, 1000], csumStart, csumOffset));
      const before = frames().length;
      send(end, [{ frame, header }]);
      await world.settle();
      expect(
        frames()
          .slice(before)
          .map(({ bytes }) => bytes),
      ).toEqual(segmentsOf(layers, payloadOf(2500), 1000).map(hex));
    }
  });

  it('follow a frame that a hook tags, untags or puts into a tunnel', async () => {
    await start();
    const vif = world.netback.vifs.get('vif7.0')!;
    const changes: ReadonlyArray<readonly [readonly Layer[], readonly Layer[]]> = [
      [
        [IP4, TCP],
        [TAG, IP4, TCP],
      ],
      [
        [TAG, IP6, TCP],
        [IP6, TCP],
      ],
      [
        [IP4, TCP],
        [IP4, { kind: 'vxlan' }, IP4, TCP],
      ],
    ];
    for (const [before, after] of changes) {
      const replaced = stacked(after, payloadOf(500), { checksum: 'partial' }).frame;
      const hook = vif.hook(() => replaced);
      await put(before, payloadOf(500));
      const { flags, bytes } = frames().at(-1)!;
      const isLeft = after.length === 2;
      expect(flags).toBe(RX_FLAG_DATA_VALIDATED | (isLeft ? RX_FLAG_CSUM_BLANK : 0));
      expect(bytes).toBe(hex(isLeft ? replaced : segmentsOf(after, payloadOf(500), 4000)[0]!));
      hook[Symbol.dispose]();
    }
  });

  it('are none for a frame that a hook makes of another', async () => {
    await start();
    const made = new Uint8Array(60).fill(5);
    world.netback.vifs.get('vif7.0')!.hook(() => made);
    await put([IP4, TCP], payloadOf(500));
    expect(frames()).toEqual([{ flags: 0, bytes: hex(made) }]);
  });

  it('of a custom port do not depend on what it leaves in its batch', async () => {
    await start();
    const port = world.port('vif7.0');
    expect(port).toBeInstanceOf(TestPort);
    await put([IP4, UDP], payloadOf(10));
    expect(frames()).toHaveLength(1);
  });
});
