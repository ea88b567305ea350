import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { RX_FLAG_CSUM_BLANK, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { VNET_FLAG_NEEDS_CSUM, VNET_GSO_TCPV4, VNET_GSO_TCPV6 } from '../../lib/protocol/vnet.js';
import { xensimMachine, xensimMissing } from '../../worlds/model/machine.js';
import { World } from '../../worlds/model/raw-world.js';
import { EVERYTHING, NOTHING, openEnd, receive, send } from '../../worlds/port-end.js';
import { DESTINATION, type Layer, payloadOf, stacked } from '../stacked-frames.js';
import { arena, makeTap, withTaps } from '../tap-network.js';

const TAG: Layer = { kind: 'tag', type: 0x8100 };
const PROVIDER_TAG: Layer = { kind: 'tag', type: 0x88a8 };
const IP4: Layer = { kind: 'ip4', options: 4 };
const IP6: Layer = { kind: 'ip6', chain: [[DESTINATION, 0]] };
const TCP: Layer = { kind: 'tcp', options: 12 };
const UDP: Layer = { kind: 'udp' };

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A trunk: sender, guest and a tap without offloads in one bridge. The guest must get the frames that come out of that tap. */
withTaps(import.meta.url, () => {
  if (xensimMissing !== undefined) {
    it.skip(`guests need xensim: ${xensimMissing}`, () => {});
    return;
  }
  describe.each(['copy', 'map'] as const)('tagged frames of the bridge, payload by %s', (payload) => {
    it.each([
      ['TCP, one tag', [TAG, IP4, TCP], 100, 0],
      ['UDP, one tag', [TAG, IP6, UDP], 101, 0],
      ['UDP, two tags', [PROVIDER_TAG, TAG, IP4, UDP], 0, 0],
      ['GSO over IPv4, one tag', [TAG, IP4, TCP], 20_000, VNET_GSO_TCPV4],
      ['GSO over IPv6, one tag', [TAG, IP6, TCP], 60_001, VNET_GSO_TCPV6],
      ['GSO over IPv4, two tags', [PROVIDER_TAG, TAG, IP4, TCP], 9000, VNET_GSO_TCPV4],
      ['GSO over IPv6, two tags', [PROVIDER_TAG, TAG, IP6, TCP], 2801, VNET_GSO_TCPV6],
    ] as const)(
      'reach the guest as the kernel completes and segments them: %s',
      async (_name, layers, bytes, kind) => {
        const sender = openEnd(makeTap({ name: 'ta', bridge: 'br0', up: true }), arena, EVERYTHING);
        const reference = openEnd(makeTap({ name: 'tb', bridge: 'br0', up: true }), arena, NOTHING);
        const world = await World.open(xensimMachine());
        const guest = await world.guest(7);
        const port = makeTap({ name: 'vif7.0', bridge: 'br0', up: true });
        await world.start(payload, [guest], { port: () => port });
        guest.post(Array.from({ length: 100 }, (_, page) => guest.ref(page)));
        await world.settle();

        const { frame, csumStart, csumOffset, headerBytes } = stacked(layers, payloadOf(bytes), {
          checksum: 'partial',
        });
        const before = frame.slice();
        const gso = kind === 0 ? 0 : 1400;
        const header = new Uint8Array(12);
        const view = new DataView(header.buffer);
        header.set([VNET_FLAG_NEEDS_CSUM, kind]);
        const fields = [kind === 0 ? 0 : headerBytes, gso, csumStart, csumOffset];
        for (const [i, value] of fields.entries()) view.setUint16(2 + 2 * i, value, true);
        send(sender, [{ frame, header }]);
        await sleep(50);
        await world.settle();
        const expected = receive(reference).map((one) => hex(one.frame));
        expect(expected).toHaveLength(kind === 0 ? 1 : Math.ceil(bytes / 1400));
        const got = guest.rxResponses().map(({ flags, status }, page) => {
          expect(flags & (RX_FLAG_CSUM_BLANK | RX_FLAG_EXTRA_INFO | RX_FLAG_MORE_DATA)).toBe(0);
          return hex(guest.pages.bytes.subarray(page * 4096, page * 4096 + status));
        });
        expect(frame).toEqual(before);
        expect(got).toEqual(expected);
        await world.close();
      },
    );
  });
});
