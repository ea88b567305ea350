import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FrameReceiver, framePort, redirect, type Vif } from '../../lib/index.js';
import * as netif from '../../lib/protocol/netif.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { plainFrame, tcpChecksumHolds, tcpFrame } from '../../worlds/port-end.js';

const { EXTRA_TYPE_GSO, GSO_TYPE_TCPV4 } = netif;
const { TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } = netif;
const PAGE = 4096;
const HEADERS = 14 + 20 + 20;

describe.each(MACHINES)('frames that a program sends to guests, on %s', (_name, makeMachine) => {
  let world: World;
  let first: RawGuest;
  let second: RawGuest;
  const vif = (domid = 7): Vif => world.netback.vifs.get(`vif${domid}.0`)!;
  const lengths = (guest: RawGuest) => guest.rxResponses().map(({ status }) => status);
  const post = (guest: RawGuest, count: number) =>
    guest.post(Array.from({ length: count }, (_, i) => guest.ref(10 + i)));

  beforeEach(async () => {
    world = await World.open(makeMachine());
    first = await world.guest(7);
    second = await world.guest(8);
    await world.settled(second.connect(world.toolstack, { 'feature-gso-tcpv4': '0' }));
    await world.start('copy', [first]);
  });
  afterEach(() => world.close());

  describe('by vif.send', () => {
    it('reach the guest, as those of its port do, and its hooks', async () => {
      const seen: unknown[] = [];
      using _hook = vif().hook(({ bytes }, direction) => {
        seen.push([direction, bytes.length]);
        return bytes.length === 90 ? 'drop' : 'pass';
      });
      post(first, 4);
      expect([80, 90, 100].map((bytes) => vif().send(plainFrame(bytes, 1)))).toEqual([true, true, true]);
      await world.settle();
      world.port('vif7.0').put(plainFrame(110, 1));
      await world.settle();
      expect(vif().send(plainFrame(120, 1))).toBe(true);
      await world.settle();
      expect(lengths(first)).toEqual([80, 100, 110, 120]);
      expect(first.pages.bytes.slice(10 * PAGE, 10 * PAGE + 80)).toEqual(plainFrame(80, 1));
      expect(seen).toEqual([80, 90, 100, 110, 120].map((bytes) => ['to-guest', bytes]));
      expect(vif().stats.toGuest).toMatchObject({ frames: 4, filtered: 1, dropped: 0 });
    });

    it('wait for buffers of the guest', async () => {
      expect(vif().send(plainFrame(80, 1))).toBe(true);
      await world.settle();
      post(first, 1);
      await world.settle();
      expect(lengths(first)).toEqual([80]);
    });

    it('are counted as dropped if they wait when vifd detaches', async () => {
      for (let i = 0; i < 3; i++) vif().send(plainFrame(80, 1));
      await world.settle();
      const closed = vif();
      await world.settled(closed.close());
      expect(closed.stats.toGuest.drops.detached).toBe(3);
    });

    it('take turns with those of the port', async () => {
      for (let i = 0; i < 1000; i++) vif().send(plainFrame(80, 1));
      world.port('vif7.0').put(plainFrame(100, 1));
      await world.settle();
      post(first, 200);
      await world.settle();
      expect(lengths(first)).toContain(100);
    });

    it('are not taken beyond a megabyte, nor without a guest', async () => {
      let taken = 0;
      while (vif().send(plainFrame(1500, 1)) && taken < 10_000) taken++;
      expect(taken).toBeGreaterThan(500);
      expect(taken).toBeLessThan(1000);
      const closed = vif();
      await world.settled(closed.close());
      expect(closed.send(plainFrame(60, 1))).toBe(false);
      expect(() => closed.send(new Uint8Array(3))).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    });
  });

  describe('by a redirect', () => {
    it('reach the other guest alone, completed and cut into segments where that needs it', async () => {
      const toSecond = redirect(vif(8));
      using _hook = vif().hook(({ bytes }, direction) =>
        direction === 'from-guest' && bytes[0] === 0xff ? toSecond : 'pass',
      );
      post(second, 8);
      first.pages.bytes.set(plainFrame(100, 1));
      first.pages.bytes.set(tcpFrame(5000, 3), PAGE);
      const flags = TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED | TX_FLAG_EXTRA_INFO | TX_FLAG_MORE_DATA;
      first.send([
        { page: 0, size: 100 },
        { size: HEADERS + 5000, flags, page: 1 },
        { words: [EXTRA_TYPE_GSO | (1000 << 16), GSO_TYPE_TCPV4, 0] },
        { size: HEADERS + 5000 - PAGE, page: 2 },
        { page: 5, size: 60 },
      ]);
      await world.settle();
      expect(world.port('vif7.0').written.map(({ length }) => length)).toEqual([60]);
      const long = Array(5).fill(HEADERS + 1000);
      expect(lengths(second)).toEqual([100, ...long]);
      expect(second.pages.bytes.slice(10 * PAGE, 10 * PAGE + 100)).toEqual(plainFrame(100, 1));
      // netif leaves the checksum of a segment to the guest, or has it completed.
      expect(
        second
          .rxResponses()
          .slice(1)
          .every(({ flags: rx }) => rx !== 0),
      ).toBe(true);
      expect(vif().stats.fromGuest).toMatchObject({ frames: 1, filtered: 2, dropped: 0 });
      expect(vif(8).stats.toGuest.frames).toBe(6);
    });

    it('count as dropped if the receiver does not take them, and may go to a frame port', async () => {
      const port = framePort({ onFrame: () => {} });
      const toPort = redirect(port);
      using _hook = vif().hook((_frame, direction) => (direction === 'from-guest' ? toPort : 'pass'));
      first.send([{ size: 60 }]);
      await world.settle();
      expect(vif().stats.fromGuest).toMatchObject({ frames: 0, filtered: 0, dropped: 1, drops: { port: 1 } });
    });

    it('that throws drops the frame, and is reported', async () => {
      const broken: FrameReceiver = {
        send: () => {
          throw new Error('gone');
        },
      };
      const away = redirect(broken);
      using _hook = vif().hook(() => away);
      first.send([{ size: 60 }]);
      await world.settle();
      expect(world.errors.map(({ code, message }) => `${code} ${message}`)).toEqual([
        'ERR_HOOK vif7.0: A hook without a name threw: gone. The frame is dropped, as is each for which it throws.',
      ]);
      expect(vif().stats.fromGuest.hookErrors).toBe(1);
      expect(() => redirect({} as never)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    });
  });

  it('pass from guest to guest through frame ports, with their offload', async () => {
    await world.stop();
    const ports = new Map<string, ReturnType<typeof framePort>>();
    const join = (id: string, other: string) =>
      framePort({
        onFrame: (frame, offload) => ports.get(other)?.send(frame, offload),
        offloads: true,
        name: id,
      });
    ports.set('vif7.0', join('vif7.0', 'vif8.0'));
    ports.set('vif8.0', join('vif8.0', 'vif7.0'));
    await world.start('copy', [], { port: ({ id }) => ports.get(id)! });
    post(second, 4);
    first.pages.bytes.set(tcpFrame(1000, 3));
    first.send([{ size: HEADERS + 1000, flags: TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED }]);
    await world.settle();
    expect(lengths(second)).toEqual([HEADERS + 1000]);
    expect(second.rxResponses()[0].flags & netif.RX_FLAG_DATA_VALIDATED).not.toBe(0);
    expect(tcpChecksumHolds(tcpFrame(1000, 3))).toBe(false);
  });
});
