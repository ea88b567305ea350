import { afterEach, describe, expect, it } from 'vitest';
import { completeChecksum, locateChecksum, writePseudoChecksum } from '../../lib/protocol/checksum.js';
import * as netif from '../../lib/protocol/netif.js';
import {
  VNET_FLAG_DATA_VALID,
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_ECN,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
} from '../../lib/protocol/vnet.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const { RX_FLAG_CSUM_BLANK, RX_FLAG_DATA_VALIDATED, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA } = netif;
const { TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } = netif;
const { EXTRA_TYPE_GSO, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6 } = netif;
const ROOM = 40;
const TCP = 6;
const UDP = 17;
type Version = 4 | 6;

/** TCP or UDP with the pseudo header's sum in the checksum's place. */
function partial(version: Version, protocol: number, payload: number): Uint8Array {
  const network = version === 4 ? 20 : 40;
  const transport = protocol === TCP ? 20 : 8;
  const frame = new Uint8Array(14 + network + transport + payload);
  for (let i = 14; i < frame.length; i++) frame[i] = (i * 7) & 0xff;
  const view = new DataView(frame.buffer);
  view.setUint16(12, version === 4 ? 0x0800 : 0x86dd);
  if (version === 4) frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol], 14);
  else frame.set([0x60, 0, 0, 0, 0, 0, protocol, 64], 14);
  if (version === 4) view.setUint16(16, frame.length - 14);
  else view.setUint16(18, frame.length - 54);
  if (protocol === TCP) frame.set([0x50, 0x18], 14 + network + 12);
  writePseudoChecksum(frame, 0, locateChecksum(frame, 0, frame.length), frame.length);
  return frame;
}

function completed(frame: Uint8Array): Uint8Array {
  const whole = frame.slice();
  const where = locateChecksum(whole, 0, whole.length);
  completeChecksum(whole, 0, whole.length, where & 0xffff, where >>> 16);
  return whole;
}

/** Words of a virtio_net_hdr, as TestPort takes them. */
function header(frame: Uint8Array, flags: number, kind = 0, gsoBytes = 0): number[] {
  const where = flags === VNET_FLAG_NEEDS_CSUM ? locateChecksum(frame, 0, frame.length) : 0;
  return [flags | (kind << 8), (gsoBytes | ((where & 0xffff) << 16)) >>> 0, where >>> 16];
}

const KINDS = [
  ['TCP over IPv4', 4, TCP],
  ['UDP over IPv4', 4, UDP],
  ['TCP over IPv6', 6, TCP],
  ['UDP over IPv6', 6, UDP],
] as const;

describe('offloads', () => {
  let world: World;
  let guest: RawGuest;
  afterEach(() => world.close());

  async function start(keys: Record<string, string> = {}): Promise<void> {
    world = await World.open();
    guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, keys));
    await world.start('copy');
    guest.post(Array.from({ length: ROOM }, (_, page) => guest.ref(page)));
    await world.settle();
  }

  /** Sends a frame of one slot out of the guest. @returns flags, kind, segment bytes, csum_start and csum_offset. */
  async function fromGuest(frame: Uint8Array, flags: number): Promise<number[]> {
    guest.pages.bytes.set(frame, 100 * 4096);
    guest.send([{ page: 100, size: frame.length, flags }]);
    await world.settle();
    return vnetOf(world.port('vif7.0').headers.at(-1)!);
  }

  function vnetOf(bytes: Uint8Array): number[] {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return [bytes[0], bytes[1], view.getUint16(4, true), view.getUint16(6, true), view.getUint16(8, true)];
  }

  /** @returns flags of the first slot, and the bytes that the guest has then. */
  async function toGuest(
    frame: Uint8Array,
    words: readonly number[],
  ): Promise<[number, Uint8Array] | undefined> {
    const from = guest.rxResponses().length;
    world.port('vif7.0').put(frame, words);
    await world.settle();
    const [first] = guest.rxResponses().slice(from);
    if (first === undefined) return undefined;
    const at = from * 4096 + first.offset;
    return [first.flags, guest.pages.bytes.slice(at, at + Math.min(frame.length, 4096))];
  }

  const stats = () => world.netback.vifs.get('vif7.0')!.stats;

  describe('from the guest', () => {
    it.each(KINDS)('leave the checksum of %s to the port', async (_name, version, protocol) => {
      await start();
      const frame = partial(version, protocol, 100);
      const where = locateChecksum(frame, 0, frame.length);
      expect(await fromGuest(frame, TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED)).toEqual([
        VNET_FLAG_NEEDS_CSUM,
        0,
        0,
        where & 0xffff,
        where >>> 16,
      ]);
      expect(world.port('vif7.0').written[0]).toEqual(frame);
      expect(await fromGuest(completed(frame), TX_FLAG_DATA_VALIDATED)).toEqual([
        VNET_FLAG_DATA_VALID,
        0,
        0,
        0,
        0,
      ]);
      expect(await fromGuest(completed(frame), 0)).toEqual([0, 0, 0, 0, 0]);
    });

    it.each([
      ['IPv4', 4, GSO_TYPE_TCPV4, VNET_GSO_TCPV4],
      ['IPv6', 6, GSO_TYPE_TCPV6, VNET_GSO_TCPV6],
    ] as const)(
      'leave segmenting over %s to the port, with the sum that it begins with',
      async (_name, version, type, kind) => {
        await start();
        const frame = partial(version, TCP, 3000);
        const where = locateChecksum(frame, 0, frame.length);
        for (const blank of [true, false]) {
          guest.pages.bytes.set(blank ? frame : completed(frame), 100 * 4096);
          const flags = (blank ? TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED : 0) | TX_FLAG_EXTRA_INFO;
          guest.send([
            { page: 100, size: frame.length, flags: flags | TX_FLAG_MORE_DATA },
            { words: [EXTRA_TYPE_GSO | (1000 << 16), type, 0] },
            { page: 101, size: 0 },
          ]);
          await world.settle();
          expect(vnetOf(world.port('vif7.0').headers.at(-1)!)).toEqual([
            VNET_FLAG_NEEDS_CSUM,
            kind,
            1000,
            where & 0xffff,
            where >>> 16,
          ]);
          expect(world.port('vif7.0').written.at(-1)).toEqual(frame);
        }
        expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 1, 0, 0, 1, 0]);
      },
    );
  });

  /** The guest asks for an offload that its frame's headers contradict. */
  describe('from the guest that contradict the headers', () => {
    const set =
      (at: number, ...bytes: number[]) =>
      (frame: Uint8Array) =>
        frame.set(bytes, at);
    it.each([
      ['GSO TCPv4 on UDP', 4, UDP, 1000, GSO_TYPE_TCPV4, undefined],
      ['GSO TCPv6 on UDP', 6, UDP, 1000, GSO_TYPE_TCPV6, undefined],
      ['GSO TCPv4 on IPv6', 6, TCP, 1000, GSO_TYPE_TCPV4, undefined],
      ['GSO TCPv6 on IPv4', 4, TCP, 1000, GSO_TYPE_TCPV6, undefined],
      ['GSO and a data offset of 0', 4, TCP, 1000, GSO_TYPE_TCPV4, set(46, 0x00)],
      ['GSO and a data offset of 4', 6, TCP, 1000, GSO_TYPE_TCPV6, set(66, 0x40)],
      ['GSO and a TCP header beyond the frame', 4, TCP, 30, GSO_TYPE_TCPV4, set(46, 0xf0)],
      ['GSO and a datagram beyond the frame', 4, TCP, 1000, GSO_TYPE_TCPV4, set(16, 0xff, 0xff)],
      ['a datagram beyond the frame, IPv4', 4, UDP, 100, 0, set(16, 0x04, 0x00)],
      ['a datagram beyond the frame, IPv6', 6, TCP, 100, 0, set(18, 0x04, 0x00)],
      ['a checksum beyond the datagram', 4, TCP, 100, 0, set(16, 0, 30)],
      ['an IPv4 header of 16 bytes', 4, TCP, 100, 0, set(14, 0x44)],
      ['an IPv6 header behind the ethertype of IPv4', 6, TCP, 100, 0, set(12, 0x08, 0x00)],
      ['a fragment', 4, UDP, 100, 0, set(20, 0x20, 0x00)],
    ] as const)('cost that frame: %s', async (_name, version, protocol, payload, gso, change) => {
      await start();
      const frame = partial(version, protocol, payload);
      change?.(frame);
      guest.pages.bytes.set(frame, 100 * 4096);
      const flags = TX_FLAG_CSUM_BLANK | (gso === 0 ? 0 : TX_FLAG_EXTRA_INFO);
      const extra = { words: [EXTRA_TYPE_GSO | (500 << 16), gso, 0] as [number, number, number] };
      const slot = { page: 100, size: frame.length, flags };
      guest.send(gso === 0 ? [slot] : [slot, extra]);
      guest.send([{ page: 101, size: 60 }]);
      await world.settle();
      expect(world.port('vif7.0').written.map(({ length }) => length)).toEqual([60]);
      expect(stats().fromGuest).toMatchObject({ dropped: 1, frames: 1, errors: 0 });
      expect(guest.txResponses()[0]?.status).toBe(0);
    });

    it.each([
      ['TCP whose header the frame cuts off', 4, TCP, 53],
      ['TCP over IPv6 whose header the frame cuts off', 6, TCP, 73],
      ['UDP whose checksum the frame cuts off', 4, UDP, 41],
    ] as const)('cost that frame: %s', async (_name, version, protocol, size) => {
      await start();
      for (const length of [size, size + 1]) {
        const frame = partial(version, protocol, 0).slice(0, length);
        guest.pages.bytes.set(frame, 100 * 4096);
        guest.send([{ page: 100, size: length, flags: TX_FLAG_CSUM_BLANK }]);
        await world.settle();
      }
      expect(stats().fromGuest).toMatchObject({ dropped: 1, frames: 1 });
    });
  });

  describe('from the guest that are one segment', () => {
    it.each([1000, 1001, 0xffff])('are no GSO frame: segments of %i bytes', async (gsoBytes) => {
      await start();
      const frame = partial(4, TCP, 1000);
      guest.pages.bytes.set(frame, 100 * 4096);
      guest.send([
        { page: 100, size: frame.length, flags: TX_FLAG_CSUM_BLANK | TX_FLAG_EXTRA_INFO },
        { words: [EXTRA_TYPE_GSO | (gsoBytes << 16), GSO_TYPE_TCPV4, 0] },
      ]);
      await world.settle();
      const expected = [VNET_FLAG_NEEDS_CSUM, 0, 0, 34, 16];
      expect(vnetOf(world.port('vif7.0').headers[0]!)).toEqual(expected);
    });

    it('mark a frame with CWR as ECN: only the first segment gets it', async () => {
      await start();
      const frame = partial(4, TCP, 1000);
      frame[47] = 0x90;
      guest.pages.bytes.set(frame, 100 * 4096);
      guest.send([
        { page: 100, size: frame.length, flags: TX_FLAG_CSUM_BLANK | TX_FLAG_EXTRA_INFO },
        { words: [EXTRA_TYPE_GSO | (400 << 16), GSO_TYPE_TCPV4, 0] },
      ]);
      await world.settle();
      expect(vnetOf(world.port('vif7.0').headers[0]!)[1]).toBe(VNET_GSO_TCPV4 | VNET_GSO_ECN);
    });
  });

  describe('to the guest', () => {
    it.each(KINDS)('leave the checksum of %s to a guest that takes it', async (_name, version, protocol) => {
      await start();
      const frame = partial(version, protocol, 100);
      expect(await toGuest(frame, header(frame, VNET_FLAG_NEEDS_CSUM))).toEqual([
        RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED,
        frame,
      ]);
    });

    it('mark frames whose checksum was validated', async () => {
      await start();
      const frame = completed(partial(4, TCP, 10));
      expect((await toGuest(frame, header(frame, VNET_FLAG_DATA_VALID)))?.[0]).toBe(RX_FLAG_DATA_VALIDATED);
      expect((await toGuest(frame, header(frame, 0)))?.[0]).toBe(0);
    });

    it.each([
      [4, VNET_GSO_TCPV4, VNET_FLAG_NEEDS_CSUM],
      [6, VNET_GSO_TCPV6, VNET_FLAG_NEEDS_CSUM],
      [4, VNET_GSO_TCPV4, 0],
      [6, VNET_GSO_TCPV6, 0],
    ] as const)(
      'mark each GSO frame as validated: IPv%i, kind %i, flags %i',
      async (version, kind, flags) => {
        await start();
        const frame = partial(version, TCP, 5000);
        const got = await toGuest(frame, header(frame, flags, kind, 1448));
        const blank = flags === 0 ? 0 : RX_FLAG_CSUM_BLANK;
        expect(got?.[0]).toBe(RX_FLAG_DATA_VALIDATED | blank | RX_FLAG_EXTRA_INFO | RX_FLAG_MORE_DATA);
      },
    );
  });

  /** A TestPort ignores the guest's capabilities, as an embedder's port may. */
  describe('that a guest does not take, from a port that does not care', () => {
    it.each([
      ['no-csum guest, IPv4', { 'feature-no-csum-offload': '1' }, 4, true],
      ['no-csum guest, IPv6', { 'feature-no-csum-offload': '1' }, 6, false],
      ['guest without IPv6 checksums, IPv4', { 'feature-ipv6-csum-offload': '0' }, 4, false],
      ['guest without IPv6 checksums, IPv6', { 'feature-ipv6-csum-offload': '0' }, 6, true],
    ] as const)('are completed here: %s', async (_name, keys, version, here) => {
      await start(keys);
      for (const protocol of [TCP, UDP]) {
        const frame = partial(version, protocol, 101);
        expect(await toGuest(frame, header(frame, VNET_FLAG_NEEDS_CSUM))).toEqual(
          here
            ? [RX_FLAG_DATA_VALIDATED, completed(frame)]
            : [RX_FLAG_DATA_VALIDATED | RX_FLAG_CSUM_BLANK, frame],
        );
      }
    });

    it.each([
      ['GSO over IPv4', { 'feature-gso-tcpv4': '0' }, 4, VNET_GSO_TCPV4],
      ['GSO over IPv6', { 'feature-gso-tcpv6': '0' }, 6, VNET_GSO_TCPV6],
      ['GSO without scatter-gather', { 'feature-sg': '0' }, 4, VNET_GSO_TCPV4],
      ['GSO without its checksum', { 'feature-no-csum-offload': '1' }, 4, VNET_GSO_TCPV4],
    ] as const)('are segmented here: %s', async (_name, keys, version, kind) => {
      await start(keys);
      const frame = partial(version, TCP, 2000);
      expect((await toGuest(frame, header(frame, VNET_FLAG_NEEDS_CSUM, kind, 1000)))?.[0]).toBe(
        RX_FLAG_DATA_VALIDATED,
      );
      const headers = version === 4 ? 54 : 74;
      expect(guest.rxResponses().map(({ status }) => status)).toEqual([headers + 1000, headers + 1000]);
      expect(stats().toGuest).toMatchObject({ dropped: 0, frames: 2, bytes: 2 * (headers + 1000) });
    });

    it('are never offered to the port, which gets the capabilities of the guest, and no more', async () => {
      await start({ 'feature-no-csum-offload': '1', 'feature-gso-tcpv4': '1' });
      expect(world.port('vif7.0').options).toMatchObject({ checksumV4: false, gsoV4: false, gsoV6: true });
    });
  });

  describe('of a guest without scatter-gather', () => {
    it('are none: a frame of a page comes, a longer one is dropped and counted', async () => {
      await start({ 'feature-sg': '0' });
      expect(await toGuest(new Uint8Array(4096).fill(1), [0, 0, 0])).toBeDefined();
      expect(await toGuest(new Uint8Array(4097).fill(1), [0, 0, 0])).toBeUndefined();
      expect(stats().toGuest).toMatchObject({ dropped: 1, frames: 1 });
    });

    it('do not count extras: with headroom each frame has two slots, and still comes', async () => {
      await start({ 'feature-sg': '0', 'xdp-headroom': '256' });
      const frame = new Uint8Array(60).fill(1);
      expect((await toGuest(frame, [0, 0, 0]))?.[0]).toBe(RX_FLAG_EXTRA_INFO);
      expect(await toGuest(new Uint8Array(4096 - 255).fill(1), [0, 0, 0])).toBeUndefined();
      expect(stats().toGuest).toMatchObject({ dropped: 1, frames: 1 });
    });
  });
});
