import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import { Netback } from '../../lib/netback/netback.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import type { Store, Xen } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const NODE = '/local/domain/0/backend/vif/7/0';

/** An object with some members replaced. */
function changed<T extends object>(target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get: (_target, key) => {
      if (key in members) return Reflect.get(members, key);
      const value = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('a backend whose xenstored is away', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;

  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  const vif = () => world.netback.vifs.get('vif7.0');
  const codes = () => world.errors.map(({ code }) => code);
  const mended = () => world.mended.map(({ code }) => code);

  /** A frame of the guest's arrives. */
  async function expectServed(): Promise<void> {
    const { written } = world.port('vif7.0');
    const before = written.length;
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(written).toHaveLength(before + 1);
  }

  async function nodes(
    store: Store,
    path: string,
    into: Record<string, string> = {},
  ): Promise<Record<string, string>> {
    const value = await store.read(path);
    if (value !== undefined) into[path] = value;
    for (const name of await store.list(path)) await nodes(store, `${path}/${name}`, into);
    return into;
  }

  async function writeAll(all: Record<string, string>): Promise<void> {
    const { store } = world.toolstack;
    const body = store.transaction(async (view) => {
      for (const [path, value] of Object.entries(all)) await view.write(path, value);
    });
    await world.settled(body);
    await world.settle();
  }

  it('serves on, reports it at once, and reads everything anew when it is back', async () => {
    await world.start('copy', [guest]);
    hypervisor.store.stop();
    await world.settle();
    expect(codes()).toEqual(['ERR_STORE_GONE']);
    expect(world.netback.faults).toEqual(world.errors);
    await expectServed();
    await hypervisor.advance(3_600_000);
    expect(codes()).toEqual(['ERR_STORE_GONE']);
    hypervisor.store.start();
    await world.settle();
    expect(mended()).toEqual(['ERR_STORE_GONE']);
    expect(world.netback.faults).toEqual([]);
    expect([world.attached.length, world.detached]).toEqual([1, []]);
    await expectServed();
    const other = await world.guest(8);
    await world.settled(other.connect(world.toolstack));
    await world.settle();
    expect(world.netback.vifs.get('vif8.0')?.state).toBe('connected');
  });

  it('stays attached to the guests of a store that came back empty, reports that, and reports it mended when the nodes are written again', async () => {
    await world.start('copy', [guest]);
    const before = await world.settled(nodes(world.toolstack.store, '/local'));
    hypervisor.store.stop();
    await hypervisor.advance(1000);
    hypervisor.store.start('lost');
    await hypervisor.advance(60_000);
    expect(codes()).toEqual(['ERR_STORE_GONE', 'ERR_NODE_GONE']);
    expect(vif()).toMatchObject({ state: 'connected', reason: expect.stringMatching(/vifd detach vif7\.0/) });
    expect(vif()?.show().faults).toMatchObject([{ code: 'ERR_NODE_GONE' }]);
    await expectServed();
    await writeAll(before);
    expect(mended()).toEqual(['ERR_STORE_GONE', 'ERR_NODE_GONE']);
    expect(vif()?.reason).toBeUndefined();
    expect(world.detached).toEqual([]);
    await expectServed();
    // From then on its absence is a removal again.
    await world.settled(world.toolstack.store.rm(NODE));
    await world.settle();
    expect(world.detached).toEqual(['guest-gone']);
    expect(vif()).toBeUndefined();
  });

  it('detaches a vif whose node is removed after the store came back', async () => {
    await world.start('copy', [guest]);
    hypervisor.store.stop();
    await world.settle();
    hypervisor.store.start();
    await world.settle();
    await world.settled(world.toolstack.store.rm(NODE));
    await world.settle();
    expect(world.detached).toEqual(['guest-gone']);
  });

  it('detaches within a second a guest whose domain is gone while the store is away, and does not serve its stale node', async () => {
    await world.start('copy', [guest]);
    hypervisor.store.stop();
    await world.settle();
    hypervisor.store.release(7);
    await hypervisor.advance(1000);
    expect(world.detached).toEqual(['guest-gone']);
    expect(world.netback.vifs.size).toBe(0);
    // The toolstack has not removed the nodes yet.
    hypervisor.store.start();
    await world.settle();
    expect(world.attached).toHaveLength(1);
    expect(codes()).toEqual(['ERR_STORE_GONE']);
    await world.settled(world.toolstack.store.rm('/local/domain/0/backend/vif/7'));
    hypervisor.store.introduce(7);
    await world.settled(guest.connect(world.toolstack));
    await world.settle();
    expect(world.attached).toHaveLength(2);
  });

  it('detaches a guest whose domain is gone after the store came back empty', async () => {
    await world.start('copy', [guest]);
    hypervisor.store.stop();
    await world.settle();
    hypervisor.store.start('lost');
    await world.settle();
    expect(vif()?.state).toBe('connected');
    hypervisor.store.release(7);
    await hypervisor.advance(1000);
    expect(world.detached).toEqual(['guest-gone']);
    expect(vif()).toBeUndefined();
  });

  describe('in a driver domain, which does not know whether a domain exists', () => {
    /** Serves as dom0 does, on a Xen that `change` has altered. */
    async function startWith(change: (xen: Xen) => Partial<Xen>): Promise<void> {
      await world.settled(guest.connect(world.toolstack));
      world.backend = await world.machine.open(0);
      const xen = changed(world.backend, change(world.backend));
      const port = () => {
        world.ports.set('vif7.0', new TestPort());
        return world.port('vif7.0');
      };
      const listeners = {
        attached: (_vif: unknown, how: (typeof world.attached)[0]) => world.attached.push(how),
        detached: (_vif: unknown, why: string) => world.detached.push(why),
        error: (error: VifdError) => world.errors.push(error),
        mended: (error: VifdError) => world.mended.push(error),
      };
      world.netback = await world.settled(
        Netback.open({ xen, port, payload: 'copy', journals: world.journals }, listeners),
      );
      await world.settle();
    }

    it('a guest whose node is lost stays until the operator forgets the vif: no tap, journal or vif is left', async () => {
      await startWith(() => ({ domainExists: () => undefined }));
      const refused = (code: string) => expect.objectContaining({ code });
      await expect(world.netback.forget('vif9.0')).rejects.toEqual(refused('ERR_NO_VIF'));
      await expect(world.netback.forget('vif7.0')).rejects.toEqual(refused('ERR_STATE'));
      await expect(world.netback.forget('vif7.0')).rejects.toThrow(
        /xl network-detach 7 0.*vifd release vif7\.0/,
      );
      hypervisor.store.stop();
      await world.settle();
      await expect(world.netback.forget('vif7.0')).rejects.toThrow(
        /cannot determine whether .*xenstored is back/,
      );
      hypervisor.store.release(7);
      hypervisor.store.start('lost');
      await hypervisor.advance(600_000);
      expect(vif()?.state).toBe('connected');
      expect(codes()).toEqual(['ERR_STORE_GONE', 'ERR_NODE_GONE']);
      const port = world.port('vif7.0');
      await world.settled(world.netback.forget('vif7.0'));
      expect(world.detached).toEqual(['guest-gone']);
      expect(port.removed).toBe(true);
      expect(vif()).toBeUndefined();
      await hypervisor.advance(5000);
      expect(world.attached).toHaveLength(1);
    });

    it('a node that is removed while xenstored is silent was removed', async () => {
      let report: (lost: VifdError | undefined) => void = () => {};
      await startWith(({ store }) => ({
        store: changed(store, {
          onConnection: (listener) => {
            report = listener;
            return { [Symbol.dispose]() {} };
          },
        }),
        domainExists: () => undefined,
      }));
      report(new VifdError('ERR_STORE_GONE', 'xenstored is silent.', { errno: 'ETIMEDOUT' }));
      // Changes during the silence are noticed after its end.
      const removal = world.toolstack.store.rm(NODE);
      report(undefined);
      await world.settled(removal);
      await world.settle();
      expect(world.detached).toEqual(['guest-gone']);
    });
  });

  it('ends in order within a second while the store is away, and the next one resumes', async () => {
    await world.start('copy', [guest]);
    await expectServed();
    hypervisor.store.stop();
    await world.settle();
    const began = world.backend.clock.now();
    let ended: number | undefined;
    const ending = world.netback[Symbol.asyncDispose]().then(() => {
      ended = world.backend.clock.now();
    });
    await hypervisor.advance(1000);
    await ending;
    expect((ended ?? Number.POSITIVE_INFINITY) - began).toBeLessThanOrEqual(500);
    expect(world.detached).toEqual(['shutdown']);
    await world.stop();
    hypervisor.store.start();
    await world.settle();
    await world.start('copy');
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([false, true]);
    await expectServed();
  });
});
