/** In a driver domain xenstored responds EACCES for the removed nodes of a guest, and has quotas. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BACKEND, DriverDomain } from './driver-domain-world.js';

const GUEST = 7;

describe('a guest of a backend in a driver domain', () => {
  let world: DriverDomain;
  beforeEach(async () => {
    world = await new DriverDomain().open();
    await world.addVif(GUEST);
    await world.connectFront(GUEST);
    expect(await world.state(GUEST)).toBe('4');
  });
  afterEach(() => world.close());

  function expectNothingLeft(): void {
    expect(world.port('vif7.0').removed).toBe(true);
    // The counters go with the vif, which is shown as closed while it has its node.
    const counters = world.netback.vifs.has('vif7.0') ? ['vif7.0.counters'] : [];
    expect(world.journals.names('vif7.0')).toEqual(counters);
    expect(world.errors).toEqual([]);
  }

  it('is ended by force: Closed, the port and the journals gone', async () => {
    await world.removeAtOnce(GUEST, true);
    expect(await world.state(GUEST)).toBe('6');
    expectNothingLeft();
  });

  it('loses its end first, and is detached then', async () => {
    await world.settled(world.toolstack.store.rm(world.frontend(GUEST)));
    await world.hypervisor.advance(1000);
    expect(world.netback.vifs.get('vif7.0')?.state).toBe('closed');
    await world.removeAtOnce(GUEST, false);
    expect(await world.state(GUEST)).toBe('6');
    expectNothingLeft();
  });

  it('makes its state unreadable, and is detached', async () => {
    const guest = world.hypervisor.open(GUEST);
    await world.settled(
      guest.store.setPermissions(`${world.frontend(GUEST)}/state`, [{ domid: GUEST, access: 'none' }]),
    );
    await world.removeAtOnce(GUEST, false);
    expect(await world.state(GUEST)).toBe('6');
    expectNothingLeft();
  });

  it('loses both ends at once', async () => {
    await world.settled(
      world.toolstack.store.transaction(async (view) => {
        await view.rm(world.frontend(GUEST));
        await view.rm(world.node(GUEST));
      }),
    );
    await world.hypervisor.settle();
    expectNothingLeft();
    expect(world.netback.vifs.size).toBe(0);
  });

  it('loses all that it had in the store, and the backend its folder of the guest later', async () => {
    await world.settled(world.toolstack.store.rm(`/local/domain/${GUEST}`));
    await world.hypervisor.advance(500);
    await world.settled(world.toolstack.store.rm(world.node(GUEST).slice(0, -2)));
    await world.hypervisor.advance(500);
    expectNothingLeft();
    expect(world.netback.vifs.size).toBe(0);
  });

  it('is ended by force while no backend runs: the next one closes it', async () => {
    world.kill();
    await world.removeAtOnce(GUEST, true);
    await world.start();
    expect(await world.state(GUEST)).toBe('6');
    expect(world.errors).toEqual([]);
    await world.settled(world.toolstack.store.rm(world.node(GUEST).slice(0, -2)));
    await world.hypervisor.settle();
    expect(world.netback.vifs.size).toBe(0);
  });

  it('is served again when it comes back', async () => {
    await world.removeAtOnce(GUEST, true);
    await world.addVif(GUEST);
    await world.connectFront(GUEST);
    expect(await world.state(GUEST)).toBe('4');
    expect(world.attached).toEqual(['vif7.0', 'vif7.0']);
  });
});

describe('quotas of a driver domain', () => {
  let world: DriverDomain;
  afterEach(() => world.close());

  const domids = (count: number) => Array.from({ length: count }, (_, n) => 100 + n);
  const watches = () => world.hypervisor.store.watches.count(BACKEND);

  it('70 vifs need more watches than 128: those without are reported, and served by looks all the same', async () => {
    world = await new DriverDomain({ entries: 5000 }).open();
    for (const domid of domids(70)) await world.addVif(domid);
    await world.hypervisor.advance(500);
    const faulty = [...world.netback.vifs.values()].filter(({ faults }) => faults.length > 0);
    expect(faulty.map(({ id }) => id)).toEqual(
      domids(70)
        .slice(63)
        .map((domid) => `vif${domid}.0`),
    );
    for (const { faults } of faulty)
      expect(faults[0]?.message).toMatch(/quota of watches.*xenstored --watch-nb.*vifd tries again/);
    expect(world.errors).toHaveLength(7);
    expect(watches()).toBeLessThanOrEqual(128);

    await world.connectFront(169);
    await world.hypervisor.advance(2000);
    expect(world.attached).toEqual(['vif169.0']);
    expect(await world.state(169)).toBe('4');
    // Reported once, however often it is tried again.
    expect(world.errors).toHaveLength(7);

    for (const domid of domids(10)) {
      await world.removeAtOnce(domid, false);
      await world.settled(world.toolstack.store.rm(world.node(domid)));
    }
    await world.hypervisor.advance(2000);
    expect(world.mended).toHaveLength(7);
    expect(watches()).toBe(1 + 2 * 60);
  });

  it('60 vifs need more nodes than 1000: those that fit are served, the others reported and served when there is room', async () => {
    world = await new DriverDomain().open();
    for (const domid of domids(60)) await world.addVif(domid);
    await world.hypervisor.advance(2000);
    const states = await Promise.all(domids(60).map((domid) => world.state(domid)));
    const served = states.filter((state) => state === '2').length;
    expect(served).toBeGreaterThan(35);
    const faulty = [...world.netback.vifs.values()].filter(({ faults }) => faults.length > 0);
    expect(faulty).toHaveLength(60 - served);
    for (const { faults } of faulty)
      expect(faults[0]?.message).toMatch(/quota of nodes.*xenstored --entry-nb.*vifd tries again/);

    for (const domid of domids(30)) {
      await world.removeAtOnce(domid, false);
      await world.settled(world.toolstack.store.rm(world.node(domid)));
    }
    await world.hypervisor.advance(3000);
    for (const domid of domids(60).slice(30)) expect(await world.state(domid)).toBe('2');
    expect(world.mended.length).toBeGreaterThanOrEqual(60 - served - 30);
    expect([...world.netback.vifs.values()].flatMap(({ faults }) => faults)).toEqual([]);
  });

  it('60 vifs at once stay within 10 transactions, at a restart too', async () => {
    world = await new DriverDomain({ entries: 5000 }).open();
    world.kill();
    for (const domid of domids(60)) await world.addVif(domid);
    await world.start();
    for (const domid of domids(60)) expect(await world.state(domid)).toBe('2');
    for (const domid of domids(20)) await world.connectFront(domid);
    expect(world.attached).toHaveLength(20);
    world.kill();
    await world.start();
    expect(world.attached).toHaveLength(20);
    expect(world.errors).toEqual([]);
  });
});
