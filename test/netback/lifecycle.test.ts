import { afterEach, describe, expect, it } from 'vitest';
import { XenbusState } from '../../lib/protocol/xenbus.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const BACK = '/local/domain/0/backend/vif/7/0';
const FRONT = '/local/domain/7/device/vif/0';

describe('the life of a vif', () => {
  let world: World;
  afterEach(() => world.close());

  const read = (path: string) => world.settled(world.toolstack.store.read(path));
  const write = async (path: string, value: string) => {
    await world.settled(world.toolstack.store.write(path, value));
    await world.settle();
  };
  const state = () => read(`${BACK}/state`);
  const vif = () => world.netback.vifs.get('vif7.0');

  /** What the toolstack writes when it makes a vif. */
  async function create(extra: Record<string, string> = {}): Promise<void> {
    const keys = { frontend: FRONT, 'frontend-id': '7', online: '1', state: '1', ...extra };
    await world.settled(
      world.toolstack.store.transaction(async (view) => {
        await view.write(`${FRONT}/state`, '1');
        for (const [key, value] of Object.entries(keys)) await view.write(`${BACK}/${key}`, value);
      }),
    );
    await world.settle();
  }

  /** A guest that connects to a vif that stands in InitWait. */
  async function join(keys: Record<string, string> = {}): Promise<RawGuest> {
    const guest = await world.guest(7);
    const before = await read(`${BACK}/state`);
    await world.settled(guest.connect(world.toolstack, keys));
    expect(before).toBe('2');
    await world.settle();
    return guest;
  }

  it('begins with a port, features and InitWait', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    expect(await state()).toBe('2');
    expect(world.ports.has('vif7.0')).toBe(true);
    expect(await read(`${BACK}/feature-sg`)).toBe('1');
    expect(await read(`${BACK}/feature-ctrl-ring`)).toBe('1');
    expect(vif()?.state).toBe('waiting');
  });

  it('emits gone when its node is removed, connected or not, before a new vif of the same name begins', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    const first = vif();
    await world.settled(world.toolstack.store.rm(BACK));
    await world.settle();
    expect([world.gone, vif()]).toEqual([['vif7.0'], undefined]);
    await create();
    await join();
    expect(vif()).not.toBe(first);
    await world.settled(world.toolstack.store.rm(BACK));
    await world.settle();
    expect([world.gone, world.detached]).toEqual([['vif7.0', 'vif7.0'], ['guest-gone']]);
  });

  it('changes no state that its guest sees once it is detached: another backend may serve it', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    const detached = vif();
    await world.settled(world.netback[Symbol.asyncDispose]());
    await expect(detached?.close()).rejects.toMatchObject({ code: 'ERR_STATE', vif: 'vif7.0' });
    await expect(detached?.setCarrier(false)).rejects.toMatchObject({ code: 'ERR_STATE' });
    expect(await state()).toBe('4');
    expect(await read(`${BACK}/carrier`)).toBe('1');
    expect(detached?.state).toBe('detached');
  });

  it('becomes Connected only when the hotplug script is done, but moves frames before', async () => {
    world = await World.open();
    await world.start('copy');
    await create({ script: '/etc/xen/scripts/vif-bridge', 'hotplug-status': '' });
    const guest = await join();
    expect(await state()).toBe('2');
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(guest.txResponses()).toHaveLength(1);
    await write(`${BACK}/hotplug-status`, 'connected');
    expect(await state()).toBe('4');
  });

  it('reports the reason when the hotplug script fails', async () => {
    world = await World.open();
    await world.start('copy');
    await create({
      script: '/etc/xen/scripts/vif-bridge',
      'hotplug-status': 'error',
      'hotplug-error': 'no bridge',
    });
    expect(world.errors[0]?.message).toMatch(/no bridge/);
  });

  it('reports a state of its guest that is none, once, until there is one', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    await write(`${FRONT}/state`, 'banana\n');
    await write(`${BACK}/rate`, '1,2');
    const message =
      "vif7.0: its guest's state is 'banana\\n', no state of xenbus: it counts as gone until its guest connects again";
    expect(world.errors).toMatchObject([{ code: 'ERR_PROTOCOL', message, vif: 'vif7.0' }]);
    expect(vif()?.reason).toBe(message);
    expect(await state()).toBe('6');
    await write(`${FRONT}/state`, '1');
    expect(world.mended).toMatchObject([{ message }]);
    expect(await state()).toBe('2');
  });

  it('ends with the toolstack: Closed, the port taken away, nothing left when the node goes', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    await world.settled(
      world.toolstack.store.transaction(async (view) => {
        await view.write(`${BACK}/online`, '0');
        await view.write(`${BACK}/state`, `${XenbusState.Closing}`);
      }),
    );
    await world.settle();
    expect(await state()).toBe('6');
    expect(world.port('vif7.0').removed).toBe(true);
    expect(world.detached).toEqual(['guest-closed']);
    await world.settled(world.toolstack.store.rm(BACK));
    await world.settle();
    expect(vif()).toBeUndefined();
    expect(await read(`${BACK}/state`)).toBeUndefined();
  });

  it.each([
    ['the node', BACK],
    // The store fires an event for the highest node only.
    ['the node above it', BACK.replace(/\/\d+$/, '')],
    ['all nodes of vifs', BACK.replace(/\/\d+\/\d+$/, '')],
  ])('ends at once when %s goes without a word', async (_what, path) => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    await world.settled(world.toolstack.store.rm(path));
    await world.settle();
    expect(vif()).toBeUndefined();
    expect(world.detached).toEqual(['guest-gone']);
    expect(world.port('vif7.0').removed).toBe(true);
  });

  it('was removed while no backend ran: Closed at the next start', async () => {
    world = await World.open();
    await create({ online: '0', state: '5' });
    await world.start('copy');
    await world.settle();
    expect(await state()).toBe('6');
  });

  it('goes through Closing and Closed with the guest and begins again with it', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    await write(`${FRONT}/state`, '5');
    expect(await state()).toBe('5');
    await write(`${FRONT}/state`, '6');
    expect(await state()).toBe('6');
    expect(vif()?.state).toBe('closed');
    expect(world.port('vif7.0').removed).toBe(false);
    await write(`${FRONT}/state`, '1');
    expect(await state()).toBe('2');
    const guest = await join();
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(await state()).toBe('4');
    expect(guest.txResponses()).toHaveLength(1);
  });

  it('survives a guest that reboots without closing: new rings, a fresh attach', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    await write(`${FRONT}/state`, '1');
    expect(await state()).toBe('2');
    const guest = await join();
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(guest.txResponses()).toHaveLength(1);
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([false, false]);
  });

  it('is left alone by detaching: state stays Connected, and the next process continues', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    const guest = await join();
    guest.send([{ size: 60 }]);
    await world.settle();
    const states: Array<string | undefined> = [];
    await world.settled(
      world.toolstack.store.watch(`${BACK}/state`, () => {
        world.toolstack.store.read(`${BACK}/state`).then((value) => states.push(value));
      }),
    );
    await world.settle();
    await world.stop();
    await world.settle();
    expect(vif()).toBeUndefined();
    expect(world.port('vif7.0').options?.resumed).toBe(false);
    await world.start('copy');
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(guest.txResponses()).toHaveLength(2);
    expect(world.attached.at(-1)?.resumed).toBe(true);
    // An offload that was switched off at the host's side stays off.
    expect(world.port('vif7.0').options?.resumed).toBe(true);
    expect(new Set(states)).toEqual(new Set(['4']));
    expect(world.port('vif7.0').removed).toBe(false);
  });

  it('is attached to and released at once when it is accepted as found, and not to be served on', async () => {
    world = await World.open();
    // `vifd release` after a kill does so: vifd does once what the killed process left undone.
    let found = 0;
    const accept = (_vif: unknown, serving: boolean) => !serving && found++ === 0;
    await world.start('copy', [await world.guest(7)], { accept });
    expect(world.attached).toHaveLength(1);
    expect(world.detached).toEqual(['released']);
    expect(world.port('vif7.0').removed).toBe(true);
    expect(await state()).toBe('4');
  });

  it('is closed for the guest by close() alone', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    await world.settled(vif()!.close());
    expect(await state()).toBe('5');
    await write(`${FRONT}/state`, '6');
    expect(await state()).toBe('6');
  });

  it('leaves the netback when it is closed, follows its node until that is gone, and returns with its guest', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    const closed = vif()!;
    await world.settled(closed.close());
    expect([vif(), closed.state, world.detached]).toEqual([undefined, 'closed', ['guest-closed']]);
    // A look at all vifs does not serve it anew.
    await world.settled(world.netback.look());
    await write(`${FRONT}/state`, '6');
    expect([vif(), await state()]).toEqual([undefined, '6']);
    await write(`${FRONT}/state`, '1');
    expect([vif(), await state()]).toEqual([closed, '2']);
    await join();
    expect(closed.state).toBe('connected');
    await world.settled(closed.close());
    await world.rm(BACK);
    expect([vif(), world.gone, world.port('vif7.0').removed]).toEqual([undefined, ['vif7.0'], true]);
  });

  it('stays closed though the store changes while it is closed', async () => {
    world = await World.open();
    await world.start('copy');
    await create();
    await join();
    const closed = vif()!;
    const closing = closed.close();
    const changing = world.toolstack.store.write(`${FRONT}/state`, '4');
    await world.settled(Promise.all([closing, changing]));
    await world.settle();
    expect([vif(), closed.state, await state()]).toEqual([undefined, 'closed', '5']);
  });
});
