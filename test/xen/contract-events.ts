/** The contract of Events. */
import { expect, test } from 'vitest';
import type { World } from './contract-world.js';

export function bindTests(world: World): void {
  test('an event is pending on a port that was just bound', async () => {
    let events = 0;
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => events++);
    await world.eventually(() => events === 1);
    ours.close();
    theirs.close();
  });

  test('a port can be bound again after the other end closed, and events flow again', async () => {
    let seen = 0;
    let again = 0;
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => seen++);
    const first = world.backend.events.bind(world.frontend.domid, theirs.port, () => {});
    first.close();
    first.close();
    const second = world.backend.events.bind(world.frontend.domid, theirs.port, () => again++);
    await world.eventually(() => again === 1);
    theirs.unmask();
    await world.settle();
    seen = 0;
    theirs.unmask();
    second.notify();
    await world.eventually(() => seen === 1);
    second.close();
    theirs.close();
  });

  test('a port is bound once', () => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => {});
    expect(() => world.backend.events.bind(world.frontend.domid, theirs.port, () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
    );
    ours.close();
    theirs.close();
  });

  test('a port left for another domain is refused', () => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid + 4321, () => {});
    expect(() => world.backend.events.bind(world.frontend.domid, theirs.port, () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
    );
    theirs.close();
  });

  test('a port that is not there is refused', () => {
    expect(() => world.backend.events.bind(world.frontend.domid, 999, () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
    );
  });

  test('notifying an end that is gone does nothing', async () => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    theirs.notify();
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => {});
    theirs.close();
    ours.notify();
    ours.close();
    ours.notify();
    ours.unmask();
    await world.settle();
  });
}

export function deliveryTests(world: World): void {
  interface Wire {
    readonly ours: { notify(): void; unmask(): void; close(): void; readonly port: number };
    readonly theirs: { notify(): void; unmask(): void; close(): void; readonly port: number };
    count: { ours: number; theirs: number };
  }

  /** A bound channel with nothing pending and nothing masked. */
  async function wire(): Promise<Wire> {
    const count = { ours: 0, theirs: 0 };
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => count.theirs++);
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => count.ours++);
    await world.eventually(() => count.ours === 1);
    ours.unmask();
    theirs.unmask();
    await world.settle();
    theirs.unmask();
    count.ours = 0;
    count.theirs = 0;
    return { ours, theirs, count };
  }

  test('both ways', async () => {
    const { ours, theirs, count } = await wire();
    theirs.notify();
    await world.eventually(() => count.ours === 1);
    ours.notify();
    await world.eventually(() => count.theirs === 1);
    expect(count).toEqual({ ours: 1, theirs: 1 });
    ours.close();
    theirs.close();
  });

  test('events sent before the handler runs are one event', async () => {
    const { ours, theirs, count } = await wire();
    for (let i = 0; i < 5; i++) theirs.notify();
    await world.settle();
    expect(count.ours).toBe(1);
    ours.close();
    theirs.close();
  });

  test('the channel is masked from the event until unmask, and what came meanwhile is one event', async () => {
    const { ours, theirs, count } = await wire();
    theirs.notify();
    await world.eventually(() => count.ours === 1);
    theirs.notify();
    theirs.notify();
    await world.settle();
    expect(count.ours).toBe(1);
    ours.unmask();
    await world.eventually(() => count.ours === 2);
    ours.unmask();
    await world.settle();
    expect(count.ours).toBe(2);
    ours.close();
    theirs.close();
  });

  test('each channel has its own events', async () => {
    const a = await wire();
    const b = await wire();
    expect(a.ours.port).not.toBe(b.ours.port);
    b.theirs.notify();
    await world.eventually(() => b.count.ours === 1);
    expect(a.count.ours).toBe(0);
    for (const end of [a.ours, a.theirs, b.ours, b.theirs]) end.close();
  });

  test('a closed channel has no events, not even one that was pending', async () => {
    const { ours, theirs, count } = await wire();
    theirs.notify();
    ours.close();
    theirs.notify();
    await world.settle();
    expect(count.ours).toBe(0);
    theirs.close();
  });

  test('a handler may close its channel', async () => {
    let events = 0;
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => {
      events++;
      ours.close();
    });
    await world.eventually(() => events === 1);
    theirs.notify();
    await world.settle();
    expect(events).toBe(1);
    theirs.close();
  });
}
