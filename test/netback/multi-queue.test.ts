import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FRAME_STATUS, FRAMES_ERRNO, frameAt } from '../../lib/ports/frame-batch.js';
import { RING_REQ_PROD } from '../../lib/protocol/netif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { removeVif, type TrafficPort } from '../../lib/testing/netfront/index.js';
import { MACHINES, modelMachine } from '../../worlds/model/machine.js';
import { plainFrame } from '../../worlds/port-end.js';
import { FRAMES, QueuesWorld } from './queues-world.js';

const BACK = '/local/domain/0/backend/vif/7/0';
const FRONT = '/local/domain/7/device/vif/0';
const NEAR_WRAP = 0xffff_fff0;

describe.each(MACHINES)('a guest with several queues, on %s', (_name, machine) => {
  let world: QueuesWorld;
  afterEach(() => world.end());

  it.each([
    ['an event channel for each ring', true],
    ['one event channel for both rings', false],
  ])('has its frames moved in each of them, by %s, over the wrap of indices', async (_how, splitChannels) => {
    world = await QueuesWorld.open(machine(), 4);
    await world.start();
    expect(await world.read(`${BACK}/multi-queue-max-queues`)).toBe('4');
    await world.connect({ queues: 3, splitChannels, ringStart: NEAR_WRAP });
    expect(await world.read(`${FRONT}/multi-queue-num-queues`)).toBe('3');
    await world.send();
    world.expectAll(FRAMES);
    const { queueStats, stats } = world.vif!;
    expect(queueStats.map(({ fromGuest, toGuest }) => [fromGuest.frames, toGuest.frames])).toEqual(
      Array.from({ length: 3 }, () => [FRAMES, FRAMES]),
    );
    expect([stats.fromGuest.frames, stats.toGuest.frames]).toEqual([3 * FRAMES, 3 * FRAMES]);
    expect(world.errors).toEqual([]);
  });

  it('is attached to again in all of them after a stop: nothing is lost or repeated', async () => {
    world = await QueuesWorld.open(machine(), 2);
    await world.start();
    await world.connect({ queues: 2 });
    await world.send();
    await world.stop();
    world.guest[1].send(20);
    world.host[0].send(20);
    await world.start();
    world.guest[0].send(20);
    world.host[1].send(20);
    for (let round = 0; round < 4; round++) await world.settle();
    world.expectAll(FRAMES + 20);
    expect(world.resumed).toEqual([false, true]);
    expect(world.errors).toEqual([]);
  });
});

describe('several queues', () => {
  let world: QueuesWorld;
  let hypervisor: ModelHypervisor;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await QueuesWorld.open(modelMachine(hypervisor), 4);
  });
  afterEach(() => world.end());

  it('have what a program sends in the first one, in order', async () => {
    await world.start();
    await world.connect({ queues: 2 });
    for (let i = 0; i < 3000; i++) world.vif?.send(plainFrame(60, 1));
    world.host[1].send(FRAMES);
    for (let round = 0; round < 40; round++) await world.settle();
    expect(world.guest.map(({ checker }) => checker?.counts.foreign)).toEqual([3000, 0]);
  });

  /** Of the connection. */
  const names = () => world.journals.names('vif7.0').filter((name) => name !== 'vif7.0.counters');

  it('have a journal each; those that a new connection does not have are removed', async () => {
    await world.start();
    await world.connect({ queues: 3 });
    expect(names()).toEqual(['vif7.0.q0', 'vif7.0.q1', 'vif7.0.q2', 'vif7.0']);
    await world.settled(world.front.close());
    expect(names()).toEqual([]);
    await world.connect({ queues: 2 });
    await world.send();
    world.expectAll(FRAMES);
    expect(names()).toEqual(['vif7.0.q0', 'vif7.0.q1', 'vif7.0']);
  });

  it('become fewer for a guest that connects anew while no backend runs', async () => {
    await world.start();
    await world.connect({ queues: 3 });
    world.kill();
    await world.settled(world.toolstack.store.write(`${FRONT}/state`, '1'));
    await world.settled(world.toolstack.store.write(`${BACK}/state`, '2'));
    await world.connect({ queues: 1 });
    await world.start();
    expect([...names()].sort()).toEqual(['vif7.0', 'vif7.0.q0']);
    await world.send();
    world.expectAll(FRAMES);
    expect(await world.read(`${FRONT}/queue-0/tx-ring-ref`)).toBeUndefined();
  });

  it('are one where the port has one, whatever was asked for', async () => {
    world.host.length = 1;
    await world.start(4);
    expect(await world.read(`${BACK}/multi-queue-max-queues`)).toBe('1');
    await world.connect({ queues: 4 });
    expect(await world.read(`${FRONT}/multi-queue-num-queues`)).toBe('1');
    world.guest.length = 1;
    await world.send();
    world.expectAll(FRAMES);
  });

  it('that were agreed on are served by a process that offers fewer', async () => {
    await world.start();
    await world.connect({ queues: 3 });
    await world.send();
    await world.stop();
    await world.start(1);
    await world.send();
    world.expectAll(2 * FRAMES);
    expect(world.resumed).toEqual([false, true]);
  });

  it('that the port cannot have any more stop the vif, which reports that, and leave the guest connected', async () => {
    await world.start();
    await world.connect({ queues: 2 });
    await world.stop();
    world.host.length = 1;
    await world.start();
    expect(world.vif?.state).toBe('stopped');
    expect(world.vif?.reason).toMatch(/its guest has 2 queues, and port traffic has 1/);
    expect(await world.read(`${BACK}/state`)).toBe('4');
  });

  it('stop together when the guest breaks one of them, which the error names', async () => {
    await world.start();
    await world.connect({ queues: 3 });
    const ref = Number(await world.read(`${FRONT}/queue-1/rx-ring-ref`));
    const ring = world.toolstack.grants.map(7, [ref], 'write');
    ring.page(0)[RING_REQ_PROD] += 1000;
    world.host[1].send(1);
    await world.settle();
    expect(world.vif?.state).toBe('stopped');
    expect(world.vif?.reason).toBe('queue 1: to-guest ring: req_prod is beyond the ring');
    world.host[0].send(5);
    await world.settle();
    expect(world.guest[0].checker?.counts.frames).toBe(0);
    ring.unmap();
    // The next connection is served.
    await world.settled(world.front.close());
    await world.connect({ queues: 3 });
    expect(world.vif?.state).toBe('connected');
  });

  it('share the rate: it is exact for the vif, and each queue has its part', async () => {
    const { store } = world.toolstack;
    await world.settled(store.write(`${BACK}/rate`, '100500,50000'));
    await world.start();
    await world.connect({ queues: 3 });
    await hypervisor.advance(50);
    const bytes = () => world.vif!.queueStats.map(({ fromGuest }) => fromGuest.bytes);
    for (const port of world.guest) port.send(5000);
    await hypervisor.advance(100);
    const before = bytes();
    await hypervisor.advance(1000);
    const sent = bytes().map((sum, queue) => sum - before[queue]);
    const all = sent.reduce((sum, one) => sum + one);
    // A frame that does not fit waits for the next interval, and the rest of the credit counts for that.
    expect(Math.abs(all - 20 * 100_500)).toBeLessThan(2 * 9000);
    for (const one of sent) expect(one).toBeGreaterThan(all / 4);
  });

  it('share the fault of a port that fails to send: it ends with the next frame of any of them', async () => {
    const failing = { errno: 5 };
    for (const port of world.host) failAsTold(port, failing);
    await world.start();
    await world.connect({ queues: 2 });
    for (const port of world.guest) port.send(1);
    await world.settle();
    const message = expect.stringContaining('Sending frames of the guest failed (EIO)');
    expect(world.errors).toEqual([expect.objectContaining({ message })]);
    expect(world.vif!.queueStats.map(({ fromGuest }) => fromGuest.drops.refused)).toEqual([1, 1]);
    expect(world.vif!.faults).toEqual(world.errors);
    failing.errno = 0;
    // The other queue sends nothing more, so it cannot find out that the port works.
    world.guest[0].send(1);
    await world.settle();
    expect(world.vif!.faults).toEqual([]);
  });

  it('of a guest that is removed are released', async () => {
    await world.start();
    await world.connect({ queues: 4 });
    await world.settled(removeVif(world.toolstack.store, world.toolstack.clock, { domid: 7, handle: 0 }));
    expect(world.journals.names('vif7.0')).toEqual([]);
    expect(world.netback.vifs.size).toBe(0);
  });
});

/** Has the port fail each frame with `failing.errno`, unless that is 0. */
function failAsTold(port: TrafficPort, failing: { readonly errno: number }): void {
  const open = port.open.bind(port);
  port.open = (batches, options) => {
    const io = open(batches, options);
    const { writes } = batches;
    const write = () => {
      const written = io.write();
      for (let i = 0; i < written; i++) writes.block[frameAt(i) + FRAME_STATUS] = failing.errno;
      writes.block[FRAMES_ERRNO] = failing.errno;
      return written;
    };
    return { write, read: () => io.read(), wantReadable: () => io.wantReadable(), close: () => io.close() };
  };
}

describe('what a guest writes of its queues is refused with the reason:', () => {
  let world: QueuesWorld;
  beforeEach(async () => {
    world = await QueuesWorld.open(modelMachine(), 2);
    await world.start();
    await world.connect({ queues: 2 });
    await world.stop();
  });
  afterEach(() => world.end());

  it.each<[key: string, value: string | undefined, reason: string]>([
    ['multi-queue-num-queues', '0', "multi-queue-num-queues is '0', not a number of queues"],
    ['multi-queue-num-queues', '', "multi-queue-num-queues is '', not a number of queues"],
    ['multi-queue-num-queues', '-1', "multi-queue-num-queues is '-1', not a number of queues"],
    ['multi-queue-num-queues', '2.5', "multi-queue-num-queues is '2.5', not a number of queues"],
    ['multi-queue-num-queues', '3', "multi-queue-num-queues is '3', 2 is offered"],
    ['multi-queue-num-queues', '4294967295', "multi-queue-num-queues is '4294967295', 2 is offered"],
    ['multi-queue-num-queues', '1', "tx-ring-ref is '', not a grant reference"],
    ['queue-1', undefined, "queue-1/tx-ring-ref is '', not a grant reference"],
    ['queue-0/rx-ring-ref', 'many', "queue-0/rx-ring-ref is 'many', not a grant reference"],
    ['queue-1/event-channel-rx', undefined, 'queue-1/event-channel, or event-channel-tx and -rx, is missing'],
    ['queue-1/tx-ring-ref', '4000', 'queue 1: '],
    ['queue-1/event-channel-tx', '4000', 'queue 1: '],
  ])('%s = %j', async (key, value, reason) => {
    const { store } = world.toolstack;
    const path = `${FRONT}/${key}`;
    await world.settled(value === undefined ? store.rm(path) : store.write(path, value));
    await world.start();
    expect(world.vif?.state).toBe('stopped');
    expect(world.vif?.reason?.startsWith(reason), world.vif?.reason).toBe(true);
  });
});
