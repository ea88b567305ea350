import { type EventEmitter, once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback, type NetbackEvents, type NetbackListeners } from '../../lib/netback/netback.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import type { Xen } from '../../lib/xen/seam.js';
import { MACHINES, type Machine } from '../../worlds/model/machine.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';

describe.each(MACHINES)('the events of a netback, on %s', (_name, makeMachine) => {
  let machine: Machine;
  let xen: Xen;
  let netback: Netback | undefined;
  beforeEach(async () => {
    machine = makeMachine();
    xen = await machine.open(0);
  });
  afterEach(async () => {
    await settled(netback?.[Symbol.asyncDispose]() ?? Promise.resolve());
    netback = undefined;
    await settled(xen[Symbol.asyncDispose]());
    await machine.close();
  });

  const settled = async <T>(work: PromiseLike<T>): Promise<T> => {
    await machine.settle();
    return work;
  };
  const connect = async (domid: number) => {
    const guest = new RawGuest(await machine.open(domid));
    await settled(guest.connect(xen));
    return guest;
  };
  const open = async (listeners?: Partial<NetbackListeners>) => {
    netback = await Netback.open({ xen, port: () => new TestPort(), journals: memoryJournals() }, listeners);
    return netback;
  };

  it('tell the listeners of `open` of guests that are there already, once', async () => {
    await connect(7);
    const seen: string[] = [];
    const opened = await settled(open({ attached: ({ id }) => seen.push(`first ${id}`) }));
    opened.on('attached', ({ id }) => seen.push(`later ${id}`));
    await machine.settle();
    expect(seen).toEqual(['first vif7.0']);
    await connect(8);
    await machine.settle();
    expect(seen).toEqual(['first vif7.0', 'first vif8.0', 'later vif8.0']);
  });

  it('tell listeners that are added after `open` of guests that are there already, once', async () => {
    await connect(7);
    await connect(8);
    const seen: string[] = [];
    const whenListening = open().then((opened) => opened.on('attached', ({ id }) => seen.push(id)));
    await settled(whenListening);
    await machine.settle();
    expect(seen.sort()).toEqual(['vif7.0', 'vif8.0']);
  });

  it('work with events.once, for a guest that is there already and for the next', async () => {
    await connect(7);
    const first = open().then((opened) => once(opened, 'attached'));
    const [vif, how]: [Vif, { resumed: boolean }] = (await settled(first)) as NetbackEvents['attached'];
    expect([vif.id, how.resumed]).toEqual(['vif7.0', false]);
    const second = once(netback!, 'attached');
    await connect(8);
    expect((await settled(second))[0]).toMatchObject({ id: 'vif8.0' });
    expect(netback!.listenerCount('attached')).toBe(0);
  });

  it('come once to listeners of `once`', async () => {
    const opened = await settled(open());
    const seen: string[] = [];
    opened.once('attached', ({ id }) => seen.push(id));
    for (const domid of [7, 8]) await connect(domid);
    await machine.settle();
    expect(seen).toEqual(['vif7.0']);
  });

  it('are those that exist: others are refused', async () => {
    const listener = () => {};
    const refusal = expect.objectContaining({
      code: 'ERR_ARGUMENT',
      message:
        "A netback has no event 'atached': its events are attached, detached, gone, recovered, error, mended.",
    });
    await expect(open({ atached: listener } as Partial<NetbackListeners>)).rejects.toEqual(refusal);
    const opened = (await settled(open())) as EventEmitter;
    for (const add of ['on', 'once', 'addListener', 'prependListener'] as const)
      expect(() => opened[add]('atached', listener)).toThrow(refusal);
    await expect(once(opened, 'atached')).rejects.toEqual(refusal);
    expect(opened.listenerCount('atached')).toBe(0);
  });
});
