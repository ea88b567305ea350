import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Allowance } from '../../lib/netback/guest/allowance.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { createVif } from '../../lib/testing/netfront/toolstack.js';
import type { Clock, Xen } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { RawControl } from './raw-control.js';

const BACK = '/local/domain/0/backend/vif/7/0';
const DEL_GREF_MAPPING = 10;
const RECONNECT_MS = 300;
const FRONT = '/local/domain/7/device/vif/0';

describe('an allowance', () => {
  let nowMs: number;
  const clock: Clock = { now: () => nowMs, after: () => ({ [Symbol.dispose]: () => {} }) };
  beforeEach(() => {
    nowMs = 5000;
  });

  it('gives so many at once, and then one every so often', () => {
    const allowance = new Allowance(clock, 3, 100);
    expect([1, 2, 3, 4].map(() => allowance.takeMs())).toEqual([0, 0, 0, 100]);
    nowMs += 60;
    expect(allowance.takeMs()).toBe(40);
    nowMs += 40;
    expect([allowance.takeMs(), allowance.takeMs()]).toEqual([0, 100]);
  });

  it('comes back with time, and never to more than it was', () => {
    const allowance = new Allowance(clock, 3, 100);
    for (let i = 0; i < 3; i++) allowance.takeMs();
    nowMs += 1e9;
    expect([1, 2, 3, 4].map(() => allowance.takeMs())).toEqual([0, 0, 0, 100]);
  });
});

describe('the budget of a guest', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  const write = async (path: string, value: string) => {
    await world.settled(world.toolstack.store.write(path, value));
    await world.settle();
  };
  const vif = () => world.netback.vifs.get('vif7.0');
  const reconnect = async () => {
    await write(`${FRONT}/state`, '1');
    await write(`${FRONT}/state`, '4');
    await hypervisor.advance(RECONNECT_MS);
  };
  /** @returns how often it was served. */
  const reconnectUntilItWaits = async () => {
    for (let times = 1; times < 100; times++) {
      await reconnect();
      if (vif()?.state === 'waiting') return times;
    }
    throw new Error('it never waits');
  };

  it('has a few connections at once, then one every two seconds: the guest waits, which is reported once, and is served', async () => {
    await world.start('copy', [guest]);
    // Sixteen after the first, and one for every two seconds.
    expect(await reconnectUntilItWaits()).toBe(19);
    for (let i = 0; i < 2; i++) await reconnect();
    const reported = world.errors.filter((error) => !world.mended.includes(error));
    expect(reported.map(({ vif, message }) => [vif, message])).toEqual([
      [
        'vif7.0',
        expect.stringMatching(
          /^vif7.0: its guest connects more often than every 2 s, so this connection waits for \d+ ms: look into the guest/,
        ),
      ],
    ]);
    expect([vif()?.state, vif()?.reason]).toEqual(['waiting', reported[0].message]);
    await hypervisor.advance(2000);
    expect(vif()?.state).toBe('connected');
    expect(world.mended.at(-1)).toBe(reported[0]);
  });

  it('reports once that a guest has to wait, where timers are early too', async () => {
    const early = (xen: Xen): Xen => {
      const clock: Clock = {
        now: () => xen.clock.now(),
        after: (delayMs, fire) => xen.clock.after(delayMs > 10 ? delayMs - 2 : delayMs, fire),
      };
      return new Proxy(xen, {
        get: (target, key) => {
          if (key === 'clock') return clock;
          const value = Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    };
    await world.start('copy', [guest], {}, early);
    await reconnectUntilItWaits();
    await hypervisor.advance(2000);
    expect(vif()?.state).toBe('connected');
    expect([world.errors.length, world.mended]).toEqual([1, world.errors]);
  });

  it('ends with the vif: nothing is reported of a vif that is removed while it waits', async () => {
    await world.start('copy', [guest]);
    await reconnectUntilItWaits();
    await world.settled(world.toolstack.store.rm(BACK));
    await world.settle();
    await hypervisor.advance(3000);
    expect([world.gone, world.mended]).toEqual([['vif7.0'], []]);
  });

  it('charges no connection that an earlier process served: all vifs of a guest are attached to at once', async () => {
    const handles = Array.from({ length: 20 }, (_, handle) => handle);
    const { store } = world.toolstack;
    for (const handle of handles) {
      const mac = `00:16:3e:00:01:${handle.toString().padStart(2, '0')}`;
      const { frontendPath, backendPath } = await world.settled(createVif(store, { domid: 7, handle, mac }));
      const rings = { ...(await world.guest(7)).offer(), 'request-rx-copy': '1', state: '4' };
      for (const [key, value] of Object.entries(rings))
        await world.settled(store.write(`${frontendPath}/${key}`, value));
      await world.settled(store.write(`${backendPath}/state`, '4'));
    }
    await world.start('copy');
    expect(handles.map((handle) => world.netback.vifs.get(`vif7.${handle}`)?.state)).toEqual(
      handles.map(() => 'connected'),
    );
    // And the guest has all of its own yet.
    await write(`${FRONT}/state`, '1');
    await write(`${FRONT}/state`, '4');
    await hypervisor.advance(RECONNECT_MS);
    expect([vif()?.state, world.errors]).toEqual(['connected', []]);
  });

  it('charges no first connection: a guest that starts connects all its vifs at once, and has its budget yet', async () => {
    const handles = Array.from({ length: 40 }, (_, handle) => handle);
    const { store } = world.toolstack;
    await world.start('copy');
    for (const handle of handles) {
      const mac = `00:16:3e:00:01:${handle.toString().padStart(2, '0')}`;
      const { frontendPath } = await world.settled(createVif(store, { domid: 7, handle, mac }));
      const rings = { ...(await world.guest(7)).offer(), 'request-rx-copy': '1', state: '4' };
      for (const [key, value] of Object.entries(rings)) await write(`${frontendPath}/${key}`, value);
    }
    const states = () => handles.map((handle) => world.netback.vifs.get(`vif7.${handle}`)?.state);
    expect(states()).toEqual(handles.map(() => 'connected'));
    expect(world.errors).toEqual([]);
    await reconnectUntilItWaits();
    expect(states().filter((state) => state === 'connected')).toHaveLength(handles.length - 1);
  });

  it('is not used up by a guest that connects every two seconds', async () => {
    await world.start('copy', [guest]);
    for (let i = 0; i < 40; i++) {
      await hypervisor.advance(2000);
      await reconnect();
      expect(vif()?.state).toBe('connected');
    }
    expect(world.errors).toEqual([]);
  });

  it('counts connections that fail for what the guest wrote', async () => {
    await world.start('copy', [guest]);
    const good = await world.settled(world.toolstack.store.read(`${FRONT}/tx-ring-ref`));
    for (let i = 0; i < 30; i++) {
      await write(`${FRONT}/tx-ring-ref`, `${90_000 + i}`);
      await reconnect();
    }
    expect(world.errors.filter(({ code }) => code === 'ERR_PROTOCOL')).toHaveLength(20);
    expect(world.errors.filter(({ code }) => code === 'ERR_PACED')).not.toHaveLength(0);
    await write(`${FRONT}/tx-ring-ref`, good ?? '');
    await reconnect();
    await hypervisor.advance(2001);
    expect(vif()?.state).toBe('connected');
  });

  it('has so many looks at what the guest writes, and misses nothing of it', async () => {
    let reads = 0;
    const counted = (xen: Xen): Xen =>
      new Proxy(xen, {
        get: (target, key) => {
          const value = Reflect.get(target, key, target);
          if (key !== 'store') return typeof value === 'function' ? value.bind(target) : value;
          return new Proxy(value as Xen['store'], {
            get: (store, name) => {
              const member = Reflect.get(store, name, store);
              if (typeof member !== 'function') return member;
              return (...args: unknown[]) => {
                const paths = name === 'read' || name === 'readAll' ? [args[0]].flat() : [];
                if (paths.includes(`${FRONT}/request-multicast-control`)) reads++;
                return member.apply(store, args);
              };
            },
          });
        },
      });
    await world.start('copy', [guest], {}, counted);
    const before = reads;
    for (let i = 0; i < 2000; i++) await write(`${FRONT}/request-multicast-control`, `${i & 1}`);
    expect(reads - before).toBeLessThanOrEqual(140);
    const atOnce = reads;
    for (let i = 0; i < 100; i++) {
      await write(`${FRONT}/request-multicast-control`, `${i & 1}`);
      await hypervisor.advance(100);
    }
    expect(reads - atOnce).toBeGreaterThan(45);
    expect(reads - atOnce).toBeLessThan(55);
    await write(`${FRONT}/state`, '6');
    await hypervisor.advance(201);
    expect(await world.settled(world.toolstack.store.read(`${BACK}/state`))).toBe('6');
  });

  it('has so many grants mapped for good, or taken back: requests beyond wait in the ring, and are carried out', async () => {
    const control = new RawControl(guest.xen);
    await world.settled(guest.connect(world.toolstack, control.keys));
    await world.start('copy');
    // No grant is staged that could be removed; the search costs the same.
    for (let i = 0; i < 40; i++) control.ask([DEL_GREF_MAPPING, 0, control.ref, 512]);
    await world.settle();
    expect(control.responded).toBe(32);
    await hypervisor.advance(350);
    expect(control.responded).toBe(34);
    await hypervisor.advance(1000);
    expect(control.responded).toBe(40);
    expect(control.responses(0).every(({ status }) => status === 0)).toBe(true);
  });

  it('is not used by a connection that the program breaks: that is attached again once a second', async () => {
    const broken = new TestPort();
    const { open } = broken;
    broken.open = (...args) => ({
      ...open.apply(broken, args),
      write: () => {
        // Attaching writes what the failed connection had not written: only later batches fail.
        if (world.attached.length === world.detached.length) return 1;
        throw new TypeError('Cannot perform Atomics.load on a detached ArrayBuffer');
      },
    });
    await world.start('copy', [guest], { port: () => broken });
    for (let i = 0; i < 1000; i++) {
      guest.send([{ size: 60 }]);
      await hypervisor.advance(10);
    }
    expect(world.attached.length).toBeGreaterThan(10);
    expect(world.attached.length).toBeLessThan(18);
    expect(world.errors.filter(({ code }) => code === 'ERR_PACED')).toEqual([]);
  });

  it('is one for all vifs of the guest, and another guest has its own', async () => {
    const other = await world.guest(8);
    await world.start('copy', [guest, other]);
    await reconnectUntilItWaits();
    const front = '/local/domain/8/device/vif/0';
    for (let i = 0; i < 5; i++) {
      await write(`${front}/state`, '1');
      await write(`${front}/state`, '4');
    }
    expect(world.netback.vifs.get('vif8.0')?.state).toBe('connected');
  });
});
