/** The contract of LastingEvents: event channels that outlive the process which has bound them. */
import { closeSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { addon, errnoName } from '../../lib/addon.js';
import type { EventChannel, LastingEvents, StoredEvents } from '../../lib/xen/seam.js';
import type { World } from './contract-world.js';

export function lastingTests(world: World): void {
  let theirEvents: number;
  let descriptors: number[];

  beforeEach(() => {
    [theirEvents, descriptors] = [0, []];
  });
  afterEach(() => {
    for (const descriptor of descriptors) closeSync(descriptor);
  });

  const theirPort = (): EventChannel => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {
      theirEvents++;
      theirs.unmask();
    });
    return theirs;
  };

  const open = (stored?: StoredEvents): LastingEvents => {
    const events = world.backend.openLastingEvents?.(stored);
    if (events === undefined) throw new Error('the contract needs a backend with lasting event channels');
    return events;
  };

  const bindOther = (theirs: EventChannel): EventChannel =>
    world.backend.events.bind(world.frontend.domid, theirs.port, () => {});

  async function killedAfterBinding(...theirs: EventChannel[]): Promise<StoredEvents> {
    const stored = await world.killedAfterBinding(theirs.map(({ port }) => port));
    descriptors.push(stored.descriptor);
    return stored;
  }

  const bound = expect.objectContaining({ code: 'ERR_XEN_EVENT', errno: 'EINVAL' });

  test('they stay bound when the process is killed that has bound them, and nothing else can bind them', async () => {
    const theirs = theirPort();
    const stored = await killedAfterBinding(theirs);
    const { domid } = world.frontend;
    expect(stored.ports).toEqual([{ domid, remotePort: theirs.port, port: expect.any(Number) }]);
    expect(() => bindOther(theirs)).toThrow(bound);
    using others = open();
    expect(() => others.bind(domid, theirs.port, () => {})).toThrow(bound);
    theirs.close();
  });

  test('the next process has the same port, with an event pending, and events flow both ways', async () => {
    const theirs = theirPort();
    const stored = await killedAfterBinding(theirs);
    using events = open(stored);
    let ourEvents = 0;
    const ours = events.bind(world.frontend.domid, theirs.port, () => ourEvents++);
    expect(ours.port).toBe(stored.ports[0]!.port);
    expect(events.stored.ports).toEqual(stored.ports);
    await world.eventually(() => ourEvents === 1);
    ours.unmask();
    theirs.notify();
    await world.eventually(() => ourEvents === 2);
    const before = theirEvents;
    ours.notify();
    await world.eventually(() => theirEvents > before);
    theirs.close();
  });

  test('a port whose event the killed process has read stays masked until unmask', async () => {
    const theirs = theirPort();
    using events = open(await killedAfterBinding(theirs));
    let ourEvents = 0;
    const ours = events.bind(world.frontend.domid, theirs.port, () => ourEvents++);
    await world.eventually(() => ourEvents === 1);
    theirs.notify();
    await world.settle();
    expect(ourEvents).toBe(1);
    ours.unmask();
    await world.eventually(() => ourEvents === 2);
    theirs.close();
  });

  test('an event that comes while no process has the port is the next process’s', async () => {
    const theirs = theirPort();
    const stored = await killedAfterBinding(theirs);
    theirs.notify();
    await world.settle();
    using events = open(stored);
    let ourEvents = 0;
    const ours = events.bind(world.frontend.domid, theirs.port, () => {
      ourEvents++;
      ours.unmask();
    });
    // One because it was taken over, and the one that had come.
    await world.eventually(() => ourEvents === 2);
    theirs.close();
  });

  test('disposal unbinds them, also those that were not taken over, although the descriptor is open', async () => {
    const theirs = [theirPort(), theirPort()];
    const events = open(await killedAfterBinding(...theirs));
    events.bind(world.frontend.domid, theirs[0]!.port, () => {});
    events[Symbol.dispose]();
    for (const one of theirs) bindOther(one).close();
    for (const one of theirs) one.close();
  });

  test('the last descriptor unbinds them as it is closed', async () => {
    const theirs = theirPort();
    const { descriptor } = await killedAfterBinding(theirs);
    const duplicate = addon().duplicateDescriptor(descriptor);
    if (duplicate < 0) throw new Error(errnoName(duplicate));
    closeSync(descriptors.pop()!);
    expect(() => bindOther(theirs)).toThrow(bound);
    closeSync(duplicate);
    bindOther(theirs).close();
    theirs.close();
  });

  test('one channel that is closed can be bound again, and the others stay', async () => {
    const [first, second] = [theirPort(), theirPort()];
    using events = open(await killedAfterBinding(first, second));
    const ours = [first, second].map(({ port }) => events.bind(world.frontend.domid, port, () => {}));
    ours[0]!.close();
    bindOther(first).close();
    expect(() => bindOther(second)).toThrow(bound);
    expect(events.stored.ports).toEqual([expect.objectContaining({ remotePort: second.port })]);
    for (const one of [first, second]) one.close();
  });

  test('what is not bound any more is bound anew', async () => {
    const theirs = theirPort();
    const stored = await killedAfterBinding(theirs);
    open(stored)[Symbol.dispose]();
    const stale = { domid: world.frontend.domid, remotePort: theirs.port, port: 4000 };
    using events = open({ ...stored, ports: [stale] });
    let ourEvents = 0;
    expect(events.bind(world.frontend.domid, theirs.port, () => ourEvents++).port).not.toBe(4000);
    await world.eventually(() => ourEvents === 1);
    theirs.close();
  });

  test('a descriptor of another kind is refused', async () => {
    const pair = addon().socketPair() as [number, number];
    descriptors.push(...pair);
    expect(() => open({ descriptor: pair[0], ports: [] })).toThrow(
      expect.objectContaining({ code: 'ERR_HOST' }),
    );
  });
}
