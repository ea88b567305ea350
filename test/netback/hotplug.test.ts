/** `hotplug-status` as Linux's netback has it (xenbus.c, connect and hotplug_status_changed). */
import { afterEach, describe, expect, it } from 'vitest';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const BACK = '/local/domain/0/backend/vif/7/0';
const FRONT = '/local/domain/7/device/vif/0';
const SCRIPT = { script: '/etc/xen/scripts/vif-bridge' };

let world: World;
let guest: RawGuest;
afterEach(() => world.close());

const state = () => world.settled(world.toolstack.store.read(`${BACK}/state`));
const write = async (path: string, value: string | undefined) => {
  const { store } = world.toolstack;
  await world.settled(value === undefined ? store.rm(path) : store.write(path, value));
  await world.settle();
};
const status = (value: string | undefined) => write(`${BACK}/hotplug-status`, value);

async function create(keys: Record<string, string>): Promise<void> {
  world = await World.open();
  await world.start('copy');
  const all = { frontend: FRONT, 'frontend-id': '7', online: '1', state: '1', ...keys };
  await world.settled(
    world.toolstack.store.transaction(async (view) => {
      await view.write(`${FRONT}/state`, '1');
      for (const [key, value] of Object.entries(all)) await view.write(`${BACK}/${key}`, value);
    }),
  );
  await world.settle();
}

/** A frontend's driver is loaded: the first time, or again after it was unloaded. */
async function connect(): Promise<void> {
  guest = await world.guest(7);
  const keys = { ...guest.offer(), 'request-rx-copy': '1', state: '4' };
  await world.settled(
    world.toolstack.store.transaction(async (view) => {
      for (const [key, value] of Object.entries(keys)) await view.write(`${FRONT}/${key}`, value);
    }),
  );
  await world.settle();
}

async function reload(): Promise<void> {
  for (const left of ['5', '6', '1']) await write(`${FRONT}/state`, left);
  await connect();
}

async function expectFrames(): Promise<void> {
  guest.send([{ size: 60 }]);
  await world.settle();
  expect(guest.txResponses()).toHaveLength(1);
}

describe('a guest that connects becomes Connected', () => {
  it.each([
    ['at once: no script, no hotplug-status', {}, '4'],
    ['at once: a script that is done', { ...SCRIPT, 'hotplug-status': 'connected' }, '4'],
    ['at once: a script, and no hotplug-status (Linux 5.13 to 5.16 deletes it)', SCRIPT, '4'],
    ['when the script is done: hotplug-status is empty', { ...SCRIPT, 'hotplug-status': '' }, '2'],
    ['when one is done: no script, hotplug-status is empty', { 'hotplug-status': '' }, '2'],
    ['when the script is done: it has failed', { ...SCRIPT, 'hotplug-status': 'error' }, '2'],
    ['when the script is done: a word that none writes', { ...SCRIPT, 'hotplug-status': 'connected ' }, '2'],
  ])('%s', async (_what, keys, wanted) => {
    await create(keys);
    await connect();
    expect(await state()).toBe(wanted);
    await expectFrames();
    await status('connected');
    expect(await state()).toBe('4');
    await reload();
    expect(await state()).toBe('4');
    await expectFrames();
  });

  it('the second time too, where the first backend has deleted hotplug-status', async () => {
    await create({ ...SCRIPT, 'hotplug-status': '' });
    await connect();
    await status('connected');
    await status(undefined);
    expect(await state()).toBe('4');
    await reload();
    expect(await state()).toBe('4');
    await expectFrames();
  });

  it('not by the removal of a hotplug-status that is waited for, but at its next connection', async () => {
    await create({ ...SCRIPT, 'hotplug-status': '' });
    await connect();
    await status(undefined);
    expect(await state()).toBe('2');
    await status('');
    await status('connected');
    expect(await state()).toBe('4');
    await status('');
    expect(await state()).toBe('4');
    await reload();
    expect(await state()).toBe('2');
    await status(undefined);
    expect(await state()).toBe('2');
    await reload();
    expect(await state()).toBe('4');
  });

  it('at once after a script that ended before it came, or while its keys are written one by one', async () => {
    await create({ ...SCRIPT, 'hotplug-status': '' });
    await status('connected');
    guest = await world.guest(7);
    for (const [key, value] of Object.entries({ ...guest.offer(), 'request-rx-copy': '1', state: '4' }))
      await write(`${FRONT}/${key}`, value);
    expect(await state()).toBe('4');
    await expectFrames();
  });

  it('when the script is done, though vifd was killed while it waited', async () => {
    await create({ ...SCRIPT, 'hotplug-status': '' });
    await connect();
    world.kill();
    await world.start('copy');
    expect(await state()).toBe('2');
    await status('connected');
    expect(await state()).toBe('4');
    await expectFrames();
  });

  it('with a fault that ends with the script that failed first', async () => {
    await create({ ...SCRIPT, 'hotplug-status': '' });
    await connect();
    await write(`${BACK}/hotplug-error`, 'no bridge');
    await status('error');
    expect(world.errors.map(({ message }) => message)).toEqual([
      "vif7.0: the hotplug script failed: 'no bridge'",
    ]);
    await status('connected');
    expect(world.mended).toHaveLength(1);
    expect(await state()).toBe('4');
  });
});
