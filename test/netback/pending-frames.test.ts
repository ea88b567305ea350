import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RING_RSP_PROD, TX_FLAG_CSUM_BLANK, TX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { ModelKilled } from '../../lib/testing/model/index.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const CASES = MACHINES.flatMap(([name, make]) =>
  (['copy', 'map'] as const).map((payload) => [payload, name, make] as const),
);

describe.each(CASES)(
  'frames that are taken and not passed on, payload by %s, on %s',
  (payload, _name, machine) => {
    let world: World;
    let guest: RawGuest;
    beforeEach(async () => {
      world = await World.open(machine());
      guest = await world.guest(7);
    });
    afterEach(() => world.close());

    it('get a response before the port has them: their bytes are in our memory', async () => {
      await world.start(payload, [guest]);
      const port = world.port('vif7.0');
      let responded = -1;
      port.onWrite = () => {
        responded = guest.tx[RING_RSP_PROD];
      };
      guest.pages.bytes.fill(7, 0, 60);
      guest.send([{ size: 60 }, { size: 60 }]);
      await world.settle();
      expect(responded).toBe(2);
      expect(port.written).toHaveLength(2);
    });

    it('for a guest without buffers are delivered by the next process, in order, after an orderly stop', async () => {
      await world.start(payload, [guest]);
      for (let i = 0; i < 20; i++) world.port('vif7.0').put(new Uint8Array(60).fill(i));
      guest.post([0, 1, 2].map((page) => guest.ref(page)));
      await world.settle();
      expect(world.port('vif7.0').queued).toBe(0);
      await world.stop();

      await world.start(payload);
      guest.post(Array.from({ length: 17 }, (_, i) => guest.ref(i + 3)));
      await world.settle();
      const { bytes } = guest.pages;
      const got = Array.from({ length: 20 }, (_, page) => bytes[page * 4096 + 59]);
      expect(got).toEqual(Array.from({ length: 20 }, (_, i) => i));
      expect(guest.rxResponses()).toHaveLength(20);
      expect(world.errors).toEqual([]);
    });

    it('are not delivered to another connection of the guest', async () => {
      await world.start(payload, [guest]);
      for (let i = 0; i < 3; i++) world.port('vif7.0').put(new Uint8Array(60).fill(i));
      guest.post([guest.ref(0)]);
      await world.settle();
      await world.stop();
      guest.beginAt(0);
      const { store } = world.toolstack;
      await world.settled(guest.connect(world.toolstack));
      await world.settled(store.write('/local/domain/0/backend/vif/7/0/state', '2'));
      await world.start(payload);
      guest.post([guest.ref(0), guest.ref(1)]);
      await world.settle();
      expect(guest.rxResponses()).toHaveLength(0);
      expect(world.errors.map(({ code }) => code)).toEqual(['ERR_JOURNAL']);
    });
  },
);

describe.each(['copy', 'map'] as const)(
  'a process that is killed while it writes, payload by %s',
  (payload) => {
    it('has its frames written by the next one', async () => {
      const world = await World.open();
      const guest = await world.guest(7);
      await world.start(payload, [guest]);
      const port = world.port('vif7.0');
      port.onWrite = () => {
        world.kill();
        throw new ModelKilled();
      };
      guest.pages.bytes.fill(7, 0, 60);
      guest.send([{ size: 60 }]);
      await world.settle();
      expect(guest.tx[RING_RSP_PROD]).toBe(1);
      expect(port.written).toHaveLength(0);
      // The page is the guest's again.
      guest.pages.bytes.fill(9, 0, 60);
      port.onWrite = () => {};
      await world.start(payload);
      expect(port.written).toEqual([new Uint8Array(60).fill(7)]);
      expect(guest.tx[RING_RSP_PROD]).toBe(1);
      await world.close();
    });
  },
);

describe.each(CASES)('frames in pages of any phase, payload by %s, on %s', (payload, _name, machine) => {
  it('arrive as they were', async () => {
    const world = await World.open(machine());
    const guest = await world.guest(7);
    await world.start(payload, [guest]);
    const port = world.port('vif7.0');
    guest.pages.bytes.forEach((_, i) => {
      guest.pages.bytes[i] = (i * 7 + (i >>> 8)) & 0xff;
    });
    const slot = fc
      .tuple(fc.nat(15), fc.nat(4095), fc.integer({ min: 14, max: 4096 }))
      .map(([page, offset, size]) => ({ page, offset, size: Math.max(14, Math.min(size, 4096 - offset)) }))
      .filter(({ offset, size }) => offset + size <= 4096);
    const frames = fc.array(fc.array(slot, { minLength: 1, maxLength: 16 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(frames, async (list) => {
        port.written.length = 0;
        for (const pieces of list) {
          const total = pieces.reduce((sum, { size }) => sum + size, 0);
          guest.send(
            pieces.map((piece, i) => ({
              ...piece,
              size: i === 0 ? total : piece.size,
              flags: i < pieces.length - 1 ? TX_FLAG_MORE_DATA : 0,
            })),
          );
        }
        await world.settle();
        expect(port.written.length).toBe(list.length);
        const { bytes } = guest.pages;
        list.forEach((pieces, i) => {
          const sent = Buffer.concat(
            pieces.map(({ page, offset, size }) =>
              bytes.subarray(page * 4096 + offset, page * 4096 + offset + size),
            ),
          );
          expect(Buffer.compare(port.written[i], sent)).toBe(0);
          expect([...port.headers[i]]).toEqual(new Array(12).fill(0));
        });
      }),
      { numRuns: 40 },
    );
    await world.close();
  });

  it('have their vnet header in front, at offsets that are no multiple of 4 too', async () => {
    const world = await World.open(machine());
    const guest = await world.guest(7);
    await world.start(payload, [guest]);
    const frame = new Uint8Array(3000).fill(5);
    frame.set([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17], 12);
    for (const first of [66, 67, 68, 70]) {
      guest.pages.bytes.set(frame.subarray(0, first), 200);
      guest.pages.bytes.set(frame.subarray(first), 4096 + 512);
      guest.send([
        { page: 0, offset: 200, size: frame.length, flags: TX_FLAG_CSUM_BLANK | TX_FLAG_MORE_DATA },
        { page: 1, offset: 512, size: frame.length - first },
      ]);
    }
    await world.settle();
    const { written, headers } = world.port('vif7.0');
    expect(written.map((bytes) => Buffer.compare(bytes, frame))).toEqual([0, 0, 0, 0]);
    // NEEDS_CSUM; UDP over IPv4: from 34 on, at 6.
    for (const header of headers) expect([...header]).toEqual([1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0]);
    await world.close();
  });
});
