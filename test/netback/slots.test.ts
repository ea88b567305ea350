import { afterEach, describe, expect, it } from 'vitest';
import { TX_FLAG_CSUM_BLANK, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { MACHINES, modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { cutSlots, headersFrame } from './cut-headers.js';
import { RawControl } from './raw-control.js';

const MORE = TX_FLAG_MORE_DATA;
const VIF = 'vif7.0';
const ADD_GREF_MAPPING = 9;
/** Of a batch: lib/netback/frames/batch-memory.ts. */
const BATCH_SLOTS = 128;

const CASES = [
  ...MACHINES.flatMap(([name, make]) =>
    (['copy', 'map'] as const).map((payload) => [`by ${payload} on ${name}`, payload, false, make] as const),
  ),
  ['by map on the model, out of the pages', 'map', true, () => modelMachine()] as const,
];

describe.each(CASES)('slots of frames from the guest, %s', (_name, payload, writesMapped, machine) => {
  let world: World;
  let guest: RawGuest;
  let port: TestPort;
  afterEach(() => world.close());

  async function begin(
    keys: Record<string, string> = {},
    options: Parameters<World['start']>[2] = {},
    make?: (opened: World) => Promise<Record<string, string>>,
  ): Promise<void> {
    world = await World.open(machine());
    guest = await world.guest(7);
    for (let i = 0; i < guest.pages.bytes.length; i++) guest.pages.bytes[i] = (i * 31 + (i >> 12) * 7) & 0xff;
    port = new TestPort(writesMapped);
    world.ports.set(VIF, port);
    const more = await make?.(world);
    await world.settled(guest.connect(world.toolstack, { ...keys, ...more }));
    await world.start(payload, [], options);
  }

  /** A frame of `count` slots of `bytes` each, from `page` on. */
  function many(count: number, page = 0, bytes = 100): TxSlot[] {
    return Array.from({ length: count }, (_, i) => ({
      page: page + i,
      offset: i * 2,
      size: i === 0 ? count * bytes : bytes,
      flags: i + 1 < count ? MORE : 0,
    }));
  }

  function bytesOf(slots: readonly TxSlot[], bytes = 100): Uint8Array {
    const pieces = slots.map(({ page = 0, offset = 0 }) =>
      guest.pages.bytes.slice(page * 4096 + offset, page * 4096 + offset + bytes),
    );
    return Uint8Array.from(Buffer.concat(pieces));
  }

  /** Waits until all slots have responses, or the vif has stopped. */
  async function settle(): Promise<void> {
    await world.settle();
    const vif = world.netback.vifs.get(VIF)!;
    for (let round = 0; round < 100 && guest.tx[2] !== guest.tx[0] && vif.state === 'connected'; round++)
      await world.settle();
  }

  const statuses = () => guest.txResponses().map(({ status }) => status);
  const state = () => world.netback.vifs.get(VIF)!.state;

  it.each([
    [18, 'sent'],
    [19, 'sent'],
    [20, 'error'],
    [21, 'error'],
    [22, 'fatal'],
  ] as const)('%i of a frame are as for Linux: %s', async (count, verdict) => {
    await begin();
    const slots = many(count);
    guest.send(slots);
    guest.send([{ page: 250, size: 60 }]);
    await settle();
    expect(state()).toBe(verdict === 'fatal' ? 'stopped' : 'connected');
    const last = guest.pages.bytes.slice(250 * 4096, 250 * 4096 + 60);
    if (verdict === 'fatal') {
      expect([port.written, statuses()]).toEqual([[], []]);
      return;
    }
    expect(port.written).toEqual(verdict === 'sent' ? [bytesOf(slots), last] : [last]);
    expect(statuses()).toEqual([...Array(count).fill(verdict === 'sent' ? 0 : -1), 0]);
  });

  it('may be 19 with GSO, whose extra is not counted', async () => {
    await begin();
    const frame = headersFrame({ version: 4, protocol: 'tcp', payload: 19 * 1000 });
    const cuts = Array.from({ length: 18 }, (_, i) => 54 + i * 1000);
    const slots = cutSlots(guest, frame, cuts, 10, 1448);
    expect(slots).toHaveLength(20);
    guest.send(slots);
    await settle();
    expect(port.written).toEqual([frame.bytes]);
    expect([...port.headers[0]!.subarray(0, 6)]).toEqual([1, 1, 54, 0, 1448 & 0xff, 1448 >> 8]);
    expect(statuses()).toEqual([0, 1, ...Array(18).fill(0)]);
  });

  it('may be 19 of up to 64 KiB', async () => {
    await begin();
    const slots = many(19, 3, 3449);
    expect(slots[0]!.size).toBe(65531);
    guest.send(slots);
    await settle();
    expect(port.written).toEqual([bytesOf(slots, 3449)]);
    expect(statuses()).toEqual(Array(19).fill(0));
  });

  it('may be 19 in each frame of a batch, and in one that the batch cuts', async () => {
    await begin();
    const frames = Array.from({ length: 13 }, (_, i) => many(19, i * 19));
    expect(BATCH_SLOTS % 19).not.toBe(0);
    guest.send(frames.flat());
    await settle();
    expect(port.written).toEqual(frames.map((slots) => bytesOf(slots)));
    expect(statuses()).toEqual(Array(13 * 19).fill(0));
    expect(world.netback.vifs.get(VIF)!.stats.fromGuest.batches).toBeGreaterThan(1);
  });

  it('may be 19 where a hook sees the frames', async () => {
    const seen: number[] = [];
    const hook = (frame: { readonly bytes: Uint8Array }) => {
      seen.push(frame.bytes.length);
      return 'pass' as const;
    };
    await begin({}, { hook });
    const slots = many(19);
    guest.send([...slots, ...many(20)]);
    await settle();
    expect(seen).toEqual([1900]);
    expect(port.written).toEqual([bytesOf(slots)]);
    expect(statuses()).toEqual([...Array(19).fill(0), ...Array(20).fill(-1)]);
  });

  it('may be 19 of grants of which some stay mapped, and empty ones with no grant', async () => {
    let control!: RawControl;
    await begin({}, {}, async () => {
      control = new RawControl(guest.xen);
      return control.keys;
    });
    const staged = [0, 3, 4, 18].map((page) => guest.ref(page));
    for (const [i, ref] of staged.entries()) control.page.u32.set([ref, 0], i * 2);
    const asked = control.ask([ADD_GREF_MAPPING, 0, control.ref, staged.length]);
    for (let round = 0; round < 100 && control.responded === asked; round++) await world.settle();
    expect(control.responses(asked)).toMatchObject([{ status: 0 }]);
    expect(staged.map((ref) => guest.pages.end(ref))).toEqual([false, false, false, false]);
    const slots = many(19);
    const withEmpty = many(18, 3).map((slot, i) => (i === 5 ? { ...slot, ref: 0, size: 0 } : slot));
    withEmpty[0] = { ...withEmpty[0]!, size: 1700 };
    guest.send([...slots, ...withEmpty]);
    await settle();
    expect(port.written).toEqual([bytesOf(slots), bytesOf(withEmpty.filter((_, i) => i !== 5))]);
    expect(statuses()).toEqual(Array(37).fill(0));
  });

  const dead = (): number => {
    const ref = guest.pages.grant(9, 0, 'read');
    expect(guest.pages.end(ref)).toBe(true);
    return ref;
  };
  it.each<[string, () => TxSlot[]]>([
    [
      'in the middle',
      () => [
        { size: 160, flags: MORE },
        { page: 2, size: 0, flags: MORE },
        { page: 3, size: 100 },
      ],
    ],
    [
      'at the end',
      () => [
        { size: 60, flags: MORE },
        { page: 2, size: 0 },
      ],
    ],
    [
      'but for the first one',
      () => Array.from({ length: 19 }, (_, i) => ({ size: i === 0 ? 60 : 0, flags: i < 18 ? MORE : 0 })),
    ],
    [
      'at first',
      () => [
        { size: 100, flags: MORE },
        { page: 2, size: 100 },
      ],
    ],
    [
      'at first, with a grant that is none',
      () => [
        { ref: 0, size: 100, flags: MORE },
        { page: 2, size: 100 },
      ],
    ],
    [
      'but for the last one, with grants that are none',
      () =>
        Array.from({ length: 19 }, (_, i) =>
          i === 18 ? { page: 5, size: 300 } : { ref: 0xffff_ffff, size: i === 0 ? 300 : 0, flags: MORE },
        ),
    ],
    [
      'at the end of a page',
      () => [
        { size: 60, flags: MORE },
        { offset: 4096, size: 0 },
      ],
    ],
    ['at the end of the first page', () => [{ offset: 4096, size: 60, flags: MORE }, { size: 60 }]],
    [
      'with grant 0',
      () => [
        { size: 60, flags: MORE },
        { ref: 0, size: 0 },
      ],
    ],
    [
      'with a grant beyond the table',
      () => [
        { size: 60, flags: MORE },
        { ref: 0xffff_ffff, size: 0 },
      ],
    ],
    [
      'with a grant that was ended',
      () => [
        { size: 60, flags: MORE },
        { ref: dead(), size: 0 },
      ],
    ],
    [
      'with a grant that was ended, before and behind bytes',
      () => [
        { size: 1160, flags: MORE },
        { ref: dead(), size: 0, flags: MORE },
        { page: 3, size: 1000, flags: MORE },
        { ref: 0, size: 0, flags: MORE },
        { page: 4, size: 100 },
      ],
    ],
  ])('that are empty %s get the response okay', async (_where, build) => {
    await begin();
    const slots = build();
    const size = slots[0]!.size!;
    const rest = slots.slice(1).reduce((sum, slot) => sum + slot.size!, 0);
    const pieces = slots.map(({ page = 0, offset = 0, size: own = 0 }, i) => {
      const length = i === 0 ? size - rest : own;
      return guest.pages.bytes.slice(page * 4096 + offset, page * 4096 + offset + length);
    });
    // Its neighbours in the batch are not mistaken for it.
    const around = { page: 40, size: 70 };
    guest.send([around, ...slots, around]);
    await settle();
    const neighbour = guest.pages.bytes.slice(40 * 4096, 40 * 4096 + 70);
    expect(port.written).toEqual([neighbour, Uint8Array.from(Buffer.concat(pieces)), neighbour]);
    expect([state(), statuses()]).toEqual(['connected', Array(slots.length + 2).fill(0)]);
  });

  it('with bytes and an invalid grant cost their frame alone an error, and stop the vif', async () => {
    await begin();
    guest.send([
      { page: 1, size: 60, flags: MORE },
      { ref: 0, size: 0 },
      { page: 2, size: 160, flags: MORE },
      { ref: 0, size: 0, flags: MORE },
      { ref: dead(), size: 100 },
      { ref: 0, size: 200, flags: MORE },
      { page: 4, size: 200 },
    ]);
    await settle();
    expect(statuses()).toEqual([0, 0, -1, -1, -1, 0, 0]);
    expect(port.written.map(({ length }) => length)).toEqual([60, 200]);
    expect([state(), world.netback.vifs.get(VIF)!.reason]).toEqual([
      'stopped',
      expect.stringContaining('bad grant reference'),
    ]);
  });

  it('may have fewer bytes than an Ethernet header, the first one too', async () => {
    await begin();
    for (let share = 0; share < 20; share++) {
      const flags = TX_FLAG_CSUM_BLANK | TX_FLAG_EXTRA_INFO;
      const frame = headersFrame({ version: 4, protocol: 'tcp' });
      const slots = cutSlots(guest, frame, [share, 2 * share], 0, 1000);
      expect(slots[0]!.flags! & flags).toBe(flags);
      port.written.length = 0;
      guest.send(slots);
      await settle();
      expect(port.written).toEqual([frame.bytes]);
    }
    expect(statuses().filter((status) => status < 0)).toEqual([]);
  });
});
