/** Frames that go out of a guest's pages into a tap, over a bridge of the kernel, and out of another tap. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { PayloadMode } from '../../lib/netback/settings.js';
import { tap } from '../../lib/ports/tap.js';
import { xensimMachine, xensimMissing } from '../../worlds/model/machine.js';
import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { type End, EVERYTHING, openEnd, type Received, receive } from '../../worlds/port-end.js';
import { arena, makeTap, withTaps } from '../tap-network.js';
import { type CutFrame, cutSlots, headersFrame, KINDS } from './cut-headers.js';

/** Slots of one publication. */
const SLOTS = 200;

let world: World;
let guest: RawGuest;
let far: End;

async function begin(payload: PayloadMode): Promise<void> {
  far = openEnd(makeTap({ name: 'tb', bridge: 'br0', up: true, mtu: 9000 }), arena, EVERYTHING);
  world = await World.open(xensimMachine());
  guest = await world.guest(7);
  const port = () => tap({ name: 'ta', bridge: 'br0', up: true, mtu: 9000 });
  await world.start(payload, [guest], { port });
}

/** Publishes the slots. @returns the frames that come out of the other tap, once there are `count` or time is up. */
async function through(slots: readonly TxSlot[], count: number): Promise<Received[]> {
  const first = guest.tx[2]!;
  guest.send(slots);
  for (let round = 0; round < 200 && guest.tx[2] !== guest.tx[0]; round++) await world.settle();
  expect(guest.txResponses(first).every(({ status }) => status === 0 || status === 1)).toBe(true);
  const received: Received[] = [];
  for (let round = 0; round < 200 && received.length < count; round++) {
    received.push(...receive(far));
    if (received.length < count) await sleep(5);
  }
  return received;
}

/** @returns the cuts with which the kernel did not pass on the frame as it is. */
async function lost(frame: CutFrame, cuts: readonly (readonly number[])[], gsoBytes: number) {
  const bad: string[] = [];
  const most = Math.max(...cuts.map((ends) => ends.length)) + 2;
  const perTurn = Math.floor(SLOTS / most);
  for (let from = 0; from < cuts.length; from += perTurn) {
    const some = cuts.slice(from, from + perTurn);
    let page = 0;
    const slots = some.flatMap((ends) => {
      const own = cutSlots(guest, frame, ends, page, gsoBytes);
      page += ends.length + 1;
      return own;
    });
    const received = await through(slots, some.length);
    for (const [i, ends] of some.entries()) {
      const { frame: bytes, header } = received[i] ?? {};
      const isRight = bytes !== undefined && Buffer.compare(bytes, frame.bytes) === 0;
      const start = header === undefined ? 0 : header[6]! | (header[7]! << 8);
      if (!isRight || start !== frame.csumStart) bad.push(`${ends}`);
    }
  }
  return bad;
}

function tests(): void {
  afterEach(async () => {
    far.io.close();
    await world.close();
  });

  it.each(KINDS)('pass through the kernel with every cut of their headers: %s', async (_kind, headers) => {
    await begin('map');
    const frame = headersFrame(headers);
    const { headersEnd } = frame;
    const step = headersEnd > 200 ? 5 : 1;
    const single = Array.from({ length: Math.ceil((headersEnd + 20) / step) }, (_, i) => [i * step]);
    const triple = single.map(([cut]) => [cut! >> 2, cut! >> 1, cut!]);
    expect(await lost(frame, [...single, ...triple], 0)).toEqual([]);
    expect(world.netback.vifs.get('vif7.0')!.stats.fromGuest).toMatchObject({ dropped: 0, errors: 0 });
  });

  it.each(['copy', 'map'] as const)('pass with GSO and 19 slots, payload by %s', async (payload) => {
    await begin(payload);
    const frame = headersFrame({ version: 4, protocol: 'tcp', tcpOptions: 12, payload: 30_000 });
    const cuts = [
      Array.from({ length: 18 }, (_, i) => 66 + i * 1700),
      Array.from({ length: 18 }, (_, i) => 20 + i * 1700),
      // Sixteen of the slots are in the headers.
      [
        ...Array.from({ length: 8 }, (_, i) => 1 + i * 8),
        ...Array.from({ length: 10 }, (_, i) => 66 + i * 3000),
      ],
      [...Array(8).fill(10), ...Array.from({ length: 10 }, (_, i) => 66 + i * 3000)],
    ];
    expect(await lost(frame, cuts, 1448)).toEqual([]);
    expect(world.netback.vifs.get('vif7.0')!.stats.fromGuest).toMatchObject({ frames: 4, dropped: 0 });
  });

  it('pass with empty slots whose grants are invalid', async () => {
    await begin('map');
    const frame = headersFrame({ version: 4, protocol: 'udp', payload: 2000 });
    const slots = cutSlots(guest, frame, [0, 10, 10, 1000, 1000, 2042], 0).map((slot, i) =>
      [0, 2, 4, 6].includes(i) ? { ...slot, ref: i === 2 ? 0 : 0xffff_ffff } : slot,
    );
    expect(slots.map(({ size }) => size)).toEqual([2042, 10, 0, 990, 0, 1042, 0]);
    const received = await through([...slots, ...cutSlots(guest, frame, [42], 20)], 2);
    expect(received.map(({ frame: bytes }) => Buffer.compare(bytes, frame.bytes))).toEqual([0, 0]);
  });

  it('are passed as they were judged, whatever a guest with 19 slots writes meanwhile', async () => {
    await begin('map');
    const frame = headersFrame({ version: 4, protocol: 'tcp', payload: 19 * 500 });
    const cuts = Array.from({ length: 18 }, (_, i) => 10 + i * 500);
    const flood = setInterval(() => guest.pages.bytes.fill(0xff), 1);
    for (let round = 0; round < 20; round++) {
      const slots = cutSlots(guest, frame, cuts, 0, 1448);
      guest.send(slots);
      await world.settle();
    }
    clearInterval(flood);
    for (let round = 0; round < 200 && guest.tx[2] !== guest.tx[0]; round++) await world.settle();
    expect(world.netback.vifs.get('vif7.0')!.state).toBe('connected');
    const good = await through(cutSlots(guest, frame, cuts, 0, 1448), 1);
    expect(Buffer.compare(good.at(-1)!.frame, frame.bytes)).toBe(0);
  });
}

withTaps(import.meta.url, () => {
  describe.skipIf(xensimMissing !== undefined)('slots of a guest into a tap', tests);
});
