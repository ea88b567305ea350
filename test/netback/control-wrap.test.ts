import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HASH_TYPES } from '../../lib/protocol/control.js';
import { RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } from '../../lib/protocol/netif.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { RawControl } from './raw-control.js';

const [SET_FLAGS, SET_ALGORITHM, ADD_GREFS] = [2, 7, 9];
const TOEPLITZ = 1;
const SUCCESS = 0;

/** A new connection's control ring stands at 0, and so does one that has had 2^32 responses. */
describe('a control ring that has come round to 0', () => {
  let world: World;
  let guest: RawGuest;
  let control: RawControl;
  beforeEach(async () => {
    world = await World.open();
    guest = await world.guest(7);
    control = new RawControl(guest.xen, 0xfffffffd);
    await world.settled(guest.connect(world.toolstack, control.keys));
    await world.start('copy');
    control.page.u32.set([guest.ref(9), 0]);
    const from = control.ask(
      [SET_ALGORITHM, TOEPLITZ],
      [SET_FLAGS, HASH_TYPES],
      [ADD_GREFS, 0, control.ref, 1],
    );
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(control.responses(from).map(({ status }) => status)).toEqual(Array(3).fill(SUCCESS));
    expect(control.responded).toBe(0);
  });
  afterEach(() => world.close());

  const algorithm = () => world.netback.vifs.get('vif7.0')?.show().connection?.hash?.algorithm;
  /** A grant that is mapped cannot be ended. */
  const isMapped = () => !guest.pages.end(guest.ref(9));

  it.each(['stop', 'kill'] as const)('is remembered after a %s', async (end) => {
    await world[end]();
    await world.start('copy');
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([true, true]);
    expect(algorithm()).toBe('toeplitz');
    expect(isMapped()).toBe(true);
    expect(world.errors).toEqual([]);
  });

  it('is not taken for that of a connection which begins with the same names, nor the other way round', async () => {
    world.kill();
    // As a driver that is loaded again while no backend runs, and gets the same rings and channels.
    for (const ring of [guest.tx, guest.rx, control.words]) {
      ring[RING_REQ_PROD] = ring[RING_RSP_PROD] = 0;
      ring[RING_REQ_EVENT] = ring[RING_RSP_EVENT] = 1;
    }
    await world.start('copy');
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([true, false]);
    expect(algorithm()).toBe('none');
    expect(isMapped()).toBe(false);
    // The earlier state is lost for good.
    guest.send([{ size: 60 }]);
    await world.settle();
    await world.stop();
    await world.start('copy');
    expect(world.attached.at(-1)?.resumed).toBe(true);
    expect(algorithm()).toBe('none');
  });
});

describe('grants that stayed mapped', () => {
  it('are no concern of a guest that has the same rings, and no control ring', async () => {
    const world = await World.open();
    const guest = await world.guest(7);
    const control = new RawControl(guest.xen);
    await world.settled(guest.connect(world.toolstack, control.keys));
    await world.start('copy');
    control.page.u32.set([guest.ref(9), 0]);
    control.ask([ADD_GREFS, 0, control.ref, 1]);
    await world.settle();
    expect(guest.pages.end(guest.ref(9))).toBe(false);
    world.kill();
    const front = '/local/domain/7/device/vif/0';
    const keys = Object.keys(control.keys).map((key) => `${front}/${key}`);
    for (const path of keys) await world.settled(world.toolstack.store.rm(path));
    await world.start('copy');
    await world.stop();
    // The new control ring gets no responses for the old one's requests, wherever its indices stand.
    for (const [key, value] of Object.entries(control.keys))
      await world.settled(world.toolstack.store.write(`${front}/${key}`, value));
    expect(control.responded).toBe(1);
    await world.start('copy');
    expect(world.netback.vifs.get('vif7.0')?.state).toBe('connected');
    expect(guest.pages.end(guest.ref(9))).toBe(true);
    await world.close();
  });
});
