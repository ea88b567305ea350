import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { MULTICAST } from '../../lib/durable/layout.js';
import { FlowCounters } from '../../lib/netback/frames/counters.js';
import { MULTICAST_MAX, MulticastFilter } from '../../lib/netback/guest/multicast.js';
import { FRAME_LENGTH, FRAME_OFFSET, FrameBatch, frameAt } from '../../lib/ports/frame-batch.js';
import {
  EXTRA_FLAG_MORE,
  EXTRA_TYPE_MCAST_ADD,
  EXTRA_TYPE_MCAST_DEL,
  TX_FLAG_EXTRA_INFO,
} from '../../lib/protocol/netif.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const GROUP = [0x33, 0x33, 0, 0, 0, 1];
const OTHER = [0x01, 0x00, 0x5e, 0, 0, 0xfb];
const BROADCAST = [255, 255, 255, 255, 255, 255];
const UNICAST = [0, 0x16, 0x3e, 0, 0, 7];
const FRONTEND = '/local/domain/7/device/vif/0';

function frameTo(address: readonly number[]): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set(address);
  return frame;
}

/** Extra info as netif.h lays it out: type, flags, the address. */
function extra(type: number, address: readonly number[], more = false): TxSlot {
  const bytes = Uint8Array.from([type, more ? EXTRA_FLAG_MORE : 0, ...address, 0, 0, 0, 0]);
  const [first, second, third] = new Uint32Array(bytes.buffer);
  return { words: [first, second, third] };
}

describe.each(MACHINES)("a guest's multicast list, on %s", (_name, machine) => {
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    world = await World.open(machine());
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  async function connect(requested: boolean): Promise<void> {
    await world.settled(
      guest.connect(world.toolstack, requested ? { 'request-multicast-control': '1' } : {}),
    );
    await world.start('copy');
  }

  async function tell(type: number, address: readonly number[]): Promise<number> {
    const from = guest.tx[2] as number;
    guest.send([{ flags: TX_FLAG_EXTRA_INFO, size: 0, id: 9 }, extra(type, address)]);
    await world.settle();
    const [first, second] = guest.txResponses(from);
    expect([first.id, second.status]).toEqual([9, 1]);
    return first.status;
  }

  /** Sends one frame to each kind of address. @returns the first bytes of those that arrive. */
  async function arriving(): Promise<number[]> {
    const from = guest.rxResponses().length;
    guest.post([0, 1, 2, 3].map((page) => guest.ref(page)));
    for (const to of [GROUP, OTHER, BROADCAST, UNICAST]) world.port('vif7.0').put(frameTo(to));
    await world.settle();
    const arrived = guest.rxResponses().slice(from);
    // Buffers that were not used are used by the next frames.
    const { bytes } = guest.pages;
    const first = arrived.map((_, i) => bytes[i * 4096] as number);
    for (let i = arrived.length; i < 4; i++) world.port('vif7.0').put(frameTo(UNICAST));
    await world.settle();
    return first;
  }

  it('lets everything pass until the guest asks for control', async () => {
    await connect(false);
    expect(await tell(EXTRA_TYPE_MCAST_ADD, GROUP)).toBe(0);
    expect(await arriving()).toEqual([0x33, 0x01, 255, 0]);
    expect(world.port('vif7.0').written).toEqual([]);
  });

  it('lets pass what it names, broadcast and unicast, and counts the others', async () => {
    await connect(true);
    expect(await arriving()).toEqual([255, 0]);
    expect(await tell(EXTRA_TYPE_MCAST_ADD, GROUP)).toBe(0);
    expect(await arriving()).toEqual([0x33, 255, 0]);
    expect(await tell(EXTRA_TYPE_MCAST_DEL, GROUP)).toBe(0);
    expect(await arriving()).toEqual([255, 0]);
    expect(world.netback.vifs.get('vif7.0')?.stats.toGuest.filtered).toBe(5);
  });

  it('follows the guest when it asks for control later, and takes it back', async () => {
    await connect(false);
    const { store } = world.toolstack;
    await world.settled(store.write(`${FRONTEND}/request-multicast-control`, '1'));
    await world.settle();
    expect(await arriving()).toEqual([255, 0]);
    await world.settled(store.write(`${FRONTEND}/request-multicast-control`, '0'));
    await world.settle();
    expect(await arriving()).toEqual([0x33, 0x01, 255, 0]);
  });

  it('is as it was after a stop', async () => {
    await connect(true);
    await tell(EXTRA_TYPE_MCAST_ADD, GROUP);
    await world.stop();
    await world.start('copy');
    expect(await arriving()).toEqual([0x33, 255, 0]);
    expect(world.errors).toEqual([]);
  });

  it('does not filter when another backend got a part of it', async () => {
    await connect(true);
    await tell(EXTRA_TYPE_MCAST_ADD, GROUP);
    await world.stop();
    world.journals.remove('vif7.0');
    await world.start('copy');
    await tell(EXTRA_TYPE_MCAST_ADD, OTHER);
    expect(await arriving()).toEqual([0x33, 0x01, 255, 0]);
  });

  it('refuses the address after the 64th, and takes one of an extra-info chain', async () => {
    await connect(true);
    for (let i = 0; i < MULTICAST_MAX; i++) {
      expect(await tell(EXTRA_TYPE_MCAST_ADD, [0x33, 0x33, 0, 0, 1, i])).toBe(0);
    }
    expect(await tell(EXTRA_TYPE_MCAST_ADD, GROUP)).toBe(-1);
    // An address that is in the list already needs no place.
    expect(await tell(EXTRA_TYPE_MCAST_ADD, [0x33, 0x33, 0, 0, 1, 5])).toBe(0);
    const from = guest.tx[2] as number;
    guest.send([
      { flags: TX_FLAG_EXTRA_INFO, size: 0, id: 3 },
      extra(EXTRA_TYPE_MCAST_DEL, [0x33, 0x33, 0, 0, 1, 5], true),
      extra(EXTRA_TYPE_MCAST_ADD, GROUP),
      { size: 60, id: 4 },
    ]);
    await world.settle();
    expect(guest.txResponses(from).map(({ status }) => status)).toEqual([0, 1, 1, 0]);
    expect(world.port('vif7.0').written).toHaveLength(1);
    // A command is no frame.
    expect(world.netback.vifs.get('vif7.0')?.stats.fromGuest).toMatchObject({ frames: 1, errors: 1 });
  });
});

describe("a guest's multicast list", () => {
  it('is as it was after a kill', async () => {
    const world = await World.open();
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, { 'request-multicast-control': '1' }));
    await world.start('copy');
    guest.send([{ flags: TX_FLAG_EXTRA_INFO, size: 0 }, extra(EXTRA_TYPE_MCAST_ADD, GROUP)]);
    await world.settle();
    world.kill();
    await world.start('copy');
    guest.post([guest.ref(0), guest.ref(1)]);
    for (const to of [OTHER, GROUP, UNICAST]) world.port('vif7.0').put(frameTo(to));
    await world.settle();
    expect([guest.pages.bytes[0], guest.pages.bytes[4096]]).toEqual([0x33, 0]);
    await world.close();
  });
});

describe('MulticastFilter', () => {
  it('takes any content of its memory for a list', () => {
    for (let seed = 1; seed < 50; seed++) {
      const words = Uint32Array.from({ length: MULTICAST.words }, (_, i) => (i + seed) * 0x9e3779b1);
      const filter = new MulticastFilter(new DurableWords(words));
      filter.requested = true;
      expect(filter.size).toBeLessThanOrEqual(MULTICAST_MAX);
      const bytes = new Uint8Array(256);
      const frames = new FrameBatch({ bytes, u32: new Uint32Array(bytes.buffer) }, 1);
      frames.count = 1;
      frames.block[frameAt(0) + FRAME_OFFSET] = 16;
      frames.block[frameAt(0) + FRAME_LENGTH] = 60;
      filter.run(frames, new FlowCounters());
      expect(filter.add(1, 2) || filter.size === MULTICAST_MAX).toBe(true);
      filter.remove(1, 2);
      filter.begin();
      expect([filter.size, filter.active]).toEqual([0, true]);
    }
  });
});
