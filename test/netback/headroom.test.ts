import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXTRA_TYPE_XDP, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const FRONTEND = '/local/domain/7/device/vif/0';
const BACKEND = '/local/domain/0/backend/vif/7/0';
const [CONNECTED, RECONFIGURING, RECONFIGURED] = ['4', '7', '8'];

describe.each(MACHINES)('XDP headroom, on %s', (_name, machine) => {
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    world = await World.open(machine());
    guest = await world.guest(7);
    await world.start('copy', [guest]);
  });
  afterEach(() => world.close());

  async function write(key: string, value: string): Promise<void> {
    await world.settled(world.toolstack.store.write(`${FRONTEND}/${key}`, value));
    await world.settle();
  }

  function state(): Promise<string | undefined> {
    return world.settled(world.toolstack.store.read(`${BACKEND}/state`));
  }

  /** As Linux's netfront does when an XDP program is attached. */
  async function reconfigure(headroom: number): Promise<void> {
    await write('xdp-headroom', `${headroom}`);
    await write('state', RECONFIGURING);
    expect(await state()).toBe(RECONFIGURED);
  }

  /** Sends one frame of `bytes` to the guest. @returns its responses. */
  async function receive(bytes: number, slots: number): Promise<ReturnType<RawGuest['rxResponses']>> {
    const from = guest.rxResponses().length;
    guest.post(Array.from({ length: slots }, (_, i) => guest.ref(from + i)));
    world.port('vif7.0').put(Uint8Array.from({ length: bytes }, (_, i) => (i % 251) + 1));
    await world.settle();
    return guest.rxResponses().slice(from);
  }

  it('is what the guest asks for, while frames go on moving', async () => {
    expect(await receive(60, 1)).toMatchObject([{ offset: 0, flags: 0, status: 60 }]);
    await reconfigure(256);
    guest.send([{ size: 60 }]);
    const small = await receive(60, 2);
    expect(small[0]).toMatchObject({ offset: 0, flags: RX_FLAG_EXTRA_INFO, status: 316 });
    // The extra's first word, as a response is read: type and flags, headroom.
    expect([small[1].id, small[1].offset]).toEqual([EXTRA_TYPE_XDP, 256]);
    const { bytes } = guest.pages;
    expect([bytes[4096 + 256], bytes[4096 + 256 + 59], bytes[4096 + 255]]).toEqual([1, 60, 0]);
    expect(world.port('vif7.0').written).toHaveLength(1);

    await write('state', CONNECTED);
    expect(await state()).toBe(CONNECTED);
    await reconfigure(0);
    await write('state', CONNECTED);
    expect(await receive(60, 1)).toMatchObject([{ flags: 0, status: 60 }]);
  });

  it('counts in the slots of a frame that just fits without it', async () => {
    await reconfigure(256);
    const got = await receive(4096, 3);
    expect(got.map(({ flags, status }) => [flags, status])).toEqual([
      [RX_FLAG_EXTRA_INFO | RX_FLAG_MORE_DATA, 4096],
      [0, 0],
      [0, 512],
    ]);
  });

  it('is remembered over a restart in the middle of the change', async () => {
    await reconfigure(256);
    await world.stop();
    await world.start('copy');
    expect(world.attached.map(({ resumed }) => resumed)).toHaveLength(2);
    expect((await receive(60, 2))[0]).toMatchObject({ status: 316 });
    await write('state', CONNECTED);
    expect(await state()).toBe(CONNECTED);
    await world.stop();
    await world.start('copy');
    expect((await receive(60, 2))[0]).toMatchObject({ status: 316 });
    expect(world.errors).toEqual([]);
  });

  it.each(['70000', '4294967295', '-1', 'x', ''])('of %j is bounded, and stops no vif', async (text) => {
    await write('xdp-headroom', text);
    await write('state', RECONFIGURING);
    const got = await receive(4096, 4);
    const length = got.length;
    expect(length).toBe(text.startsWith('7') || text.startsWith('4') ? 3 : 1);
    expect(world.netback.vifs.get('vif7.0')?.state).toBe('connected');
  });
});
