import { afterEach, describe, expect, it } from 'vitest';
import { RING_HEADER_WORDS, TX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const GUEST = 7;
const FRAMES = 5;
const SIZE = 100;

/**
 * A guest may rewrite its slots at any time. Whatever it writes after vifd has copied them, vifd uses the copy: for the payload, for the
 * frame and for the response (XSA-155).
 */
describe.each([
  ['copy', false],
  ['map', false],
  ['map', true],
] as const)(
  'slots that the guest rewrites while vifd works on them, payload by %s, from its pages: %s',
  (payload, writesMapped) => {
    let world: World;
    let port: TestPort;
    /** What the guest does before each call of vifd to the hypervisor. */
    let rewrite: (() => void) | undefined;
    let rewritten: number;
    afterEach(() => world.close());

    async function begin(): Promise<RawGuest> {
      const hypervisor = new ModelHypervisor();
      rewrite = undefined;
      rewritten = 0;
      port = new TestPort(writesMapped);
      const onStep = (what: string) => {
        if (rewrite === undefined || !what.startsWith('batch.')) return;
        rewritten++;
        rewrite();
      };
      world = await World.open({
        ...modelMachine(hypervisor),
        open: async (domid) => hypervisor.open(domid, domid === 0 ? { onStep } : {}),
      });
      const guest = await world.guest(GUEST);
      await world.start(payload, [guest], { port: () => port });
      return guest;
    }

    /** Writes other values into every slot of a ring, none of them valid. */
    const spoil = (ring: Uint32Array) => () => ring.fill(0xffff_ffff, RING_HEADER_WORDS);

    it('from the guest: the frames and the responses are those of the first slots', async () => {
      const guest = await begin();
      for (let page = 0; page < FRAMES; page++)
        guest.pages.bytes.fill(page + 1, page * 4096, (page + 1) * 4096);
      guest.send(Array.from({ length: FRAMES }, (_, page) => ({ page, size: SIZE, id: 40 + page })));
      rewrite = spoil(guest.tx);
      await world.settle();
      rewrite = undefined;
      expect(rewritten).toBeGreaterThan(0);
      expect(world.errors).toEqual([]);
      expect(port.written.map((frame) => [frame.length, frame[0], frame.at(-1)])).toEqual(
        Array.from({ length: FRAMES }, (_, page) => [SIZE, page + 1, page + 1]),
      );
      expect(guest.txResponses()).toEqual(
        Array.from({ length: FRAMES }, (_, i) => ({ id: 40 + i, status: 0 })),
      );
    });

    it('from the guest, frames of two slots: the frames and the responses are those of the first slots', async () => {
      const guest = await begin();
      for (let page = 0; page < 2 * FRAMES; page++)
        guest.pages.bytes.fill(page + 1, page * 4096, (page + 1) * 4096);
      const pair = (page: number) => [
        { page, size: 2 * SIZE, flags: TX_FLAG_MORE_DATA, id: 40 + page },
        { page: page + 1, size: SIZE, id: 41 + page },
      ];
      guest.send(Array.from({ length: FRAMES }, (_, i) => pair(2 * i)).flat());
      rewrite = spoil(guest.tx);
      await world.settle();
      rewrite = undefined;
      expect(rewritten).toBeGreaterThan(0);
      expect(world.errors).toEqual([]);
      expect(port.written.map((frame) => [frame.length, frame[0], frame.at(-1)])).toEqual(
        Array.from({ length: FRAMES }, (_, i) => [2 * SIZE, 2 * i + 1, 2 * i + 2]),
      );
      expect(guest.txResponses()).toEqual(
        Array.from({ length: 2 * FRAMES }, (_, i) => ({ id: 40 + i, status: 0 })),
      );
    });

    it('to the guest, a frame of two slots: it lies in the first buffers, and the responses are theirs', async () => {
      const guest = await begin();
      port.put(new Uint8Array(4096 + SIZE).fill(7));
      rewrite = spoil(guest.rx);
      guest.post([guest.ref(0), guest.ref(1)]);
      await world.settle();
      rewrite = undefined;
      expect(rewritten).toBeGreaterThan(0);
      expect(world.errors).toEqual([]);
      expect(guest.rxResponses().map(({ id, status }) => [id, status])).toEqual([
        [0, 4096],
        [1, SIZE],
      ]);
      expect([...guest.pages.bytes.subarray(0, 4096 + SIZE)]).toEqual(Array(4096 + SIZE).fill(7));
    });

    it('to the guest: the frames lie in the first buffers, and the responses are theirs', async () => {
      const guest = await begin();
      for (let i = 0; i < FRAMES; i++) port.put(new Uint8Array(SIZE).fill(i + 1));
      rewrite = spoil(guest.rx);
      guest.post(Array.from({ length: FRAMES }, (_, page) => guest.ref(page)));
      await world.settle();
      rewrite = undefined;
      expect(rewritten).toBeGreaterThan(0);
      expect(world.errors).toEqual([]);
      expect(guest.rxResponses().map(({ id, status }) => [id, status])).toEqual(
        Array.from({ length: FRAMES }, (_, i) => [i, SIZE]),
      );
      for (let page = 0; page < FRAMES; page++)
        expect([...guest.pages.bytes.subarray(page * 4096, page * 4096 + SIZE)]).toEqual(
          Array(SIZE).fill(page + 1),
        );
    });
  },
);

it('a frame that a hook has passed is what the port gets, though it takes frames out of the guest’s pages', async () => {
  const world = await World.open();
  const guest = await world.guest(GUEST);
  const port = new TestPort(true);
  const passed: number[] = [];
  const hook = ({ bytes }: { bytes: Uint8Array }) => {
    passed.push(bytes.at(-1)!);
    guest.pages.bytes.fill(0xee);
    return 'pass' as const;
  };
  await world.start('map', [guest], { port: () => port, hook });
  guest.pages.bytes.fill(1, 0, 4096);
  guest.send([{ size: 4000 }]);
  await world.settle();
  expect([passed, port.written.map((frame) => frame.at(-1))]).toEqual([[1], [1]]);
  await world.close();
});
