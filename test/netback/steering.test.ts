import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DRAIN_MS } from '../../lib/netback/queue/stall-timer.js';
import { HASH_TYPE_IPV4 } from '../../lib/protocol/control.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { setUpHash } from '../../lib/testing/netfront/index.js';
import type { Xen } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import { QueuesWorld } from './queues-world.js';

const NEAR_WRAP = 0xffff_fff0;
const KEY = Uint8Array.from({ length: 40 }, (_, i) => (i * 37 + 11) & 0xff);

let world: QueuesWorld;
let hypervisor: ModelHypervisor;
afterEach(() => world.end());

async function begin(queues: number): Promise<void> {
  hypervisor = new ModelHypervisor();
  world = await QueuesWorld.open(modelMachine(hypervisor), queues);
  await world.start();
}

/** The mapping's entries all name one queue: whatever a frame's hash, it goes there. */
async function steerTo(queue: number): Promise<void> {
  const setUp = { types: HASH_TYPE_IPV4, key: KEY, mapping: [queue, queue, queue] };
  world.front.hash.expect(setUp);
  expect(await world.settled(setUpHash(world.front.control!, setUp))).toBe(true);
}

/** Frames that came in each queue of the guest, of any stream. */
const came = () => world.front.queueStats.map(({ toGuest }) => toGuest.frames);
const dropped = () => world.vif!.queueStats.map(({ toGuest }) => toGuest.dropped);
const held = () => world.vif!.show().connection!.queues.map(({ pendingFrames }) => pendingFrames);
const sum = (counts: readonly number[]) => counts.reduce((all, one) => all + one, 0);

describe('a guest with a control ring', () => {
  it('gets frames by the port’s choice of queue until it chooses, and by its own mapping from then on', async () => {
    await begin(3);
    await world.connect({ queues: 3, control: true });
    await world.send(50);
    world.expectAll(50);
    await steerTo(2);
    for (const port of world.host) port.send(50);
    await world.settle();
    expect(came()).toEqual([50, 50, 200]);
    await steerTo(0);
    for (const port of world.host) port.send(50);
    await world.settle();
    expect(came()).toEqual([200, 50, 200]);
    expect(world.vif?.stats.toGuest.dropped).toBe(0);
  });

  it('has its mapping after a kill', async () => {
    await begin(2);
    await world.connect({ queues: 2, control: true });
    await steerTo(1);
    world.kill();
    await world.start();
    for (const port of world.host) port.send(50);
    await world.settle();
    expect(came()).toEqual([0, 100]);
    expect(world.resumed).toEqual([false, true]);
  });

  it('loses nothing of many frames for one queue that it has buffers for, over the wrap of indices', async () => {
    await begin(3);
    await world.connect({ queues: 3, control: true, ringStart: NEAR_WRAP });
    await steerTo(1);
    for (const port of world.host) port.send(2000);
    for (let round = 0; round < 40 && sum(came()) < 6000; round++) await world.settle();
    expect(came()).toEqual([0, 6000, 0]);
    expect(dropped()).toEqual([0, 0, 0]);
    // The frames of this queue's own port came in order and unchanged, and the others came from the other ports.
    expect(world.guest[1].checker?.counts).toMatchObject({
      next: 2000,
      lost: 0,
      reordered: 0,
      damaged: 0,
      foreign: 4000,
    });
    expect(world.front.violations.list).toEqual([]);
  });
});

describe('a guest that chooses queues, and posts no buffers in one of them,', () => {
  /** Few: most frames of a burst wait. */
  const BUFFERS = 20;
  let hear: () => void;
  beforeEach(async () => {
    await begin(3);
    const guest = deaf(hypervisor.open(7), 2);
    hear = guest.hear;
    await world.connect({ queues: 3, control: true, buffersMax: BUFFERS, splitChannels: true }, guest.xen);
  });

  it('gets all that waits in it after a stop, in order', async () => {
    await steerTo(2);
    world.host[2].send(10);
    await world.settle();
    world.host[0].send(10);
    world.host[1].send(10);
    await world.settle();
    expect(held()[2]).toBeGreaterThan(10);
    expect(world.host.map(({ generator }) => generator?.ready)).toEqual([false, false, false]);
    await world.stop();
    await world.start();
    hear();
    await world.settle();
    expect(came()).toEqual([0, 0, 30]);
    expect(world.guest[2].checker?.counts).toMatchObject({ next: 10, lost: 0, damaged: 0, foreign: 20 });
    expect([dropped(), held()]).toEqual([
      [0, 0, 0],
      [0, 0, 0],
    ]);
    expect(world.front.violations.list).toEqual([]);
  });

  it('loses there what there is no room for, counted, and nothing elsewhere', async () => {
    await steerTo(2);
    world.host[0].send(1000);
    await hypervisor.advance(50);
    expect(dropped()[2]).toBeGreaterThan(500);
    expect([dropped()[0], dropped()[1]]).toEqual([0, 0]);
    const lost = dropped()[2];
    await steerTo(1);
    world.host[0].send(500);
    world.host[1].send(500);
    await world.settle();
    expect([came()[0], came()[1]]).toEqual([0, 1000]);
    hear();
    await world.settle();
    expect(came()[2]).toBe(1000 - lost);
    expect([sum(dropped()), sum(held())]).toEqual([lost, 0]);
  });

  it('gets what the port gave to that queue in the others, 10 s late while that holds frames, and then at once', async () => {
    while (held()[2] === 0) {
      world.host[2].send(1);
      await world.settle();
    }
    const before = came()[2];
    await steerTo(1);
    world.host[2].send(100);
    await hypervisor.advance(DRAIN_MS / 2);
    expect(came()[1]).toBe(0);
    // It has waited long enough.
    await hypervisor.advance(DRAIN_MS);
    expect(came()).toEqual([0, 100, before]);
    expect(dropped()).toEqual([0, 0, 1]);
    // From then on nothing waits behind it.
    world.host[2].send(100);
    await world.settle();
    expect(came()).toEqual([0, 200, before]);
    await steerTo(2);
    world.host[2].send(5);
    await world.settle();
    await steerTo(1);
    world.host[2].send(100);
    world.host[1].send(1);
    await world.settle();
    expect(came()).toEqual([0, 301, before]);
    expect(dropped()).toEqual([0, 0, 6]);
  });

  it('has nothing read for it while there are buffers in no queue', async () => {
    await world.settled(world.front.close());
    const guest = deaf(hypervisor.open(7), 0, 1, 2);
    await world.connect({ queues: 3, control: true, buffersMax: BUFFERS, splitChannels: true }, guest.xen);
    for (const port of world.host) port.send(100);
    await world.settle();
    await steerTo(2);
    await hypervisor.advance(DRAIN_MS / 2);
    const taken = world.vif!.queueStats.map(({ toGuest }, queue) => toGuest.frames + held()[queue]);
    expect(taken).toEqual([64, 64, 64]);
    guest.hear();
    await world.settle();
    expect([sum(came()), sum(dropped())]).toEqual([300, 0]);
  });
});

/** A guest that gets no event of these queues' to-guest rings until `hear`, and then all missed ones. */
function deaf(hearing: Xen, ...queues: number[]): { xen: Xen; hear: () => void } {
  let bound = 0;
  const missed: (() => void)[] = [];
  let hears = false;
  const { domid, store, clock, shares, events, grants } = hearing;
  const xen: Xen = {
    ...{ domid, store, clock, grants, shares },
    events: {
      bind: (remote, port, onEvent) => events.bind(remote, port, onEvent),
      bindUnbound: (remote, onEvent) => {
        // Each queue has a channel for either ring, in this order.
        const channel = bound++;
        if (channel % 2 === 0 || !queues.includes(channel >> 1)) return events.bindUnbound(remote, onEvent);
        return events.bindUnbound(remote, () => {
          if (hears) onEvent();
          else missed.push(onEvent);
        });
      },
    },
    [Symbol.asyncDispose]: () => hearing[Symbol.asyncDispose](),
  };
  return {
    xen,
    hear: () => {
      hears = true;
      for (const onEvent of missed) onEvent();
    },
  };
}
