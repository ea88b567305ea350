/** A toolstack removes a vif's node, or any folder above it, of either end, and creates it again. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ToolstackWorld } from './toolstack-world.js';

let world: ToolstackWorld;
afterEach(() => world.close());

async function expectServed(domid: number, handle = 0): Promise<void> {
  const guest = await world.connect(domid, handle);
  expect(await world.state(domid, handle)).toBe('4');
  const { written } = world.port(`vif${domid}.${handle}`);
  const before = written.length;
  guest.send([{ size: 60 }]);
  await world.hypervisor.settle();
  expect(written.length).toBe(before + 1);
}

describe.each([
  ['dom0', 0],
  ['a driver domain', 5],
])('a backend in %s', (_where, backendDomid) => {
  const own = `/local/domain/${backendDomid}`;
  const ofBackend = [
    [`${own}/backend/vif/7/0`, false],
    [`${own}/backend/vif/7`, false],
    [`${own}/backend/vif`, true],
    [`${own}/backend`, true],
    [own, true],
    ['/local/domain', true],
    ['/local', true],
  ] as const;
  const ofGuest = ['/device/vif/0', '/device/vif', '/device', ''].map((end) => `/local/domain/7${end}`);

  beforeEach(async () => {
    world = await new ToolstackWorld(backendDomid).open();
    await world.addVif(7);
    await world.addVif(8);
  });

  describe.each(ofBackend)('detaches a vif when %s is removed', (path, isOfAll) => {
    async function expectGone(): Promise<void> {
      // vifd retries meanwhile.
      await world.hypervisor.advance(5000);
      expect(world.netback.vifs.has('vif7.0')).toBe(false);
      expect(world.netback.vifs.has('vif8.0')).toBe(!isOfAll);
      expect(world.port('vif7.0').removed).toBe(true);
      expect(world.port('vif8.0').removed).toBe(isOfAll);
      expect(world.journals.names('vif7.0')).toEqual([]);
      expect([...world.gone].sort()).toEqual(isOfAll ? ['vif7.0', 'vif8.0'] : ['vif7.0']);
      expect(world.watches).toBe(isOfAll ? 1 : 3);
      expect(world.errors).toEqual([]);
      expect(world.netback.faults).toEqual([]);
    }

    it.each([
      ['connected', async () => void (await world.connect(7))],
      ['waiting', async () => {}],
      [
        'closed',
        async () => {
          await world.connect(7);
          for (const state of ['5', '6']) await world.write(`${world.frontend(7)}/state`, state);
        },
      ],
    ])('its guest is %s; then it is made anew and served', async (_how, prepare) => {
      await prepare();
      await world.rm(path);
      await expectGone();
      await world.makeFolders();
      await world.addVif(7);
      await expectServed(7);
      expect(world.errors).toEqual([]);
    });

    it('and made anew at once', async () => {
      await world.connect(7);
      const removed = world.store.rm(path);
      await world.settled(removed);
      await world.makeFolders();
      await world.addVif(7);
      await expectServed(7);
      expect(world.ports.get('vif7.0')).toHaveLength(2);
      expect(world.errors).toEqual([]);
    });
  });

  it.each(ofGuest)(
    'detaches from a guest when %s is removed, and is done when its own node goes',
    async (path) => {
      await world.connect(7);
      await world.rm(path);
      expect(world.detached).toEqual([['vif7.0', 'guest-closed']]);
      expect(await world.state(7)).toBe('6');
      // The counters belong to the vif, not to the connection.
      expect(world.journals.names('vif7.0')).toEqual(['vif7.0.counters']);
      await world.remove(7, 0, { force: true });
      expect(world.journals.names('vif7.0')).toEqual([]);
      expect(world.netback.vifs.has('vif7.0')).toBe(false);
      expect(world.port('vif7.0').removed).toBe(true);
      expect(world.watches).toBe(3);
      await world.addVif(7);
      await expectServed(7);
      expect(world.errors).toEqual([]);
    },
  );

  it('takes a node that was replaced in one transaction for another vif, as its bridge, MTU and MAC may be others', async () => {
    await world.connect(7);
    const [first] = world.ports.get('vif7.0')!;
    await world.addVif(7, 0, { bridge: 'br1', mtu: 9000, mac: '00:16:3e:00:00:08' });
    expect(world.gone).toEqual(['vif7.0']);
    expect(first.removed).toBe(true);
    expect(world.netback.vifs.get('vif7.0')).toMatchObject({
      bridge: 'br1',
      mtu: 9000,
      mac: '00:16:3e:00:00:08',
    });
    await expectServed(7);
    expect(world.errors).toEqual([]);
  });

  it.each([
    ['asked for', false],
    ['forced', true],
  ])(
    'closes a vif whose removal was %s while no backend ran, and nothing of it is left',
    async (_how, force) => {
      await world.connect(7);
      world.kill();
      // libxl gives up, and a driver domain's node stays where no `xl devd` removes it.
      expect(await world.remove(7, 0, { force })).toBe(false);
      expect(await world.read(world.frontend(7))).toBeUndefined();
      expect(await world.read(`/libxl/7/device/vif/0`)).toBeUndefined();
      expect(await world.read(world.node(7))).toBeUndefined();
      await world.start();
      await world.hypervisor.advance(5000);
      expect([...world.netback.vifs.keys()]).toEqual(['vif8.0']);
      expect(world.errors).toEqual([]);
      expect(world.watches).toBe(3);
      await world.addVif(7);
      await expectServed(7);
    },
  );

  it.each([1_000, 9_990, 10_010, 19_990])(
    'closes a vif whose backend comes back %i ms after libxl asked',
    async (ms) => {
      await world.connect(7);
      world.kill();
      const removed = world.remove(7, 0);
      await world.hypervisor.advance(ms);
      await world.start();
      const byDevd = (async () => {
        // `xl devd` removes the node of a driver domain's backend once it is Closed.
        for (let waited = 0; waited < 100; waited++) {
          if (backendDomid !== 0 && (await world.store.read(`${world.node(7)}/state`)) === '6')
            await world.store.rm(world.node(7));
          await world.hypervisor.advance(100);
        }
      })();
      expect(await removed).toBe(true);
      await byDevd;
      expect([...world.netback.vifs.keys()]).toEqual(['vif8.0']);
      expect(world.watches).toBe(3);
      expect(world.errors).toEqual([]);
    },
  );
});
