import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import { DRAIN_MS, STALL_MS } from '../../lib/netback/queue/stall-timer.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../lib/ports/port.js';
import { RING_REQ_EVENT, RING_REQ_PROD } from '../../lib/protocol/netif.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';

/** A queue for each of the guest's, and one link. */
class TestPorts implements Port {
  readonly name = 'test';
  readonly writesMapped = false;
  readonly queuesMax: number;
  readonly queues: readonly TestPort[];
  /** Outlives a process, as a tap's carrier does. */
  carrier = true;
  readonly carriers: boolean[] = [];

  constructor(queues: number) {
    this.queuesMax = queues;
    this.queues = Array.from({ length: queues }, () => new TestPort());
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    return this.queues[options.queue?.index ?? 0]!.open(batches, options);
  }

  setCarrier(on: boolean): boolean {
    this.carrier = on;
    this.carriers.push(on);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** A guest that posts buffers only when the test calls `post`. */
class StallWorld {
  readonly hypervisor = new ModelHypervisor();
  readonly port: TestPorts;
  readonly errors: string[] = [];
  readonly recovered: number[] = [];
  readonly queues: readonly RawGuest[];
  xen!: ModelXen;
  netback!: Netback;
  readonly #journals = memoryJournals();
  readonly #toolstack = this.hypervisor.open(0);

  constructor(queues: number) {
    this.port = new TestPorts(queues);
    const guest = this.hypervisor.open(7);
    this.queues = this.port.queues.map(() => new RawGuest(guest));
  }

  async connect(ringStart: number): Promise<void> {
    for (const queue of this.queues) queue.beginAt(ringStart);
    const count = this.queues.length;
    const keys = this.queues.flatMap((queue, index) =>
      Object.entries(queue.offer()).map(([key, value]) => [`queue-${index}/${key}`, value]),
    );
    const many = { 'multi-queue-num-queues': `${count}`, ...Object.fromEntries(keys) };
    // A RawGuest writes the keys of its own rings as a guest with one queue does: for several queues another one writes.
    const speaker = count > 1 ? new RawGuest(this.queues[0]!.xen) : this.queues[0]!;
    const connecting = speaker.connect(this.#toolstack, {
      'feature-rx-notify': '1',
      ...(count > 1 ? many : {}),
    });
    const { store } = this.#toolstack;
    const offering = store.write('/local/domain/0/backend/vif/7/0/multi-queue-max-queues', '8');
    await this.hypervisor.settle();
    await Promise.all([connecting, offering]);
    await this.live();
  }

  async live(): Promise<void> {
    this.xen = this.hypervisor.open(0);
    const opening = Netback.open(
      { xen: this.xen, port: () => this.port, queues: this.queues.length, journals: this.#journals },
      {
        error: ({ message }) => this.errors.push(message),
        recovered: (_vif, queue) => this.recovered.push(queue),
      },
    );
    await this.hypervisor.settle();
    this.netback = await opening;
    const vif = this.netback.vifs.get('vif7.0');
    expect(vif?.state).toBe('connected');
  }

  /** Sends frames of this length to these queues, until each queue that takes none has stalled. */
  async starve(queues: readonly number[], bytes: number): Promise<void> {
    for (let waited = 0; waited < STALL_MS; waited += DRAIN_MS) {
      for (const queue of queues) this.port.queues[queue]!.put(new Uint8Array(bytes));
      await this.hypervisor.advance(DRAIN_MS + 100);
    }
  }

  /** Posts buffers in a queue; notifies the backend if it asked for that (RING_PUSH_REQUESTS_AND_CHECK_NOTIFY). */
  async post(queue: number, buffers: number): Promise<void> {
    const guest = this.queues[queue]!;
    const quietly = true;
    guest.post(
      Array.from({ length: buffers }, (_, page) => guest.ref(page)),
      quietly,
    );
    const [produced, event] = [guest.rx[RING_REQ_PROD]!, guest.rx[RING_REQ_EVENT]!];
    if ((produced - event) >>> 0 < buffers) guest.notify();
    await this.hypervisor.settle();
  }
}

describe.each([
  ['', 0],
  [', over the wrap of indices', 0xffff_ffff],
])('the link of a guest with two queues%s', (_where, ringStart) => {
  let world: StallWorld;
  beforeEach(async () => {
    world = new StallWorld(2);
    await world.connect(ringStart);
  });
  afterEach(() => world.hypervisor.kill(world.xen));

  it('stays up while one of them takes frames', async () => {
    await world.starve([1], 60);
    expect(world.errors).toEqual([
      'vif7.0: its guest takes no frames by queue 1 for 60 s: they are dropped until it does',
    ]);
    expect(world.port.carriers).toEqual([true]);
    await world.post(1, 1);
    expect(world.recovered).toEqual([1]);
    expect(world.port.carriers).toEqual([true]);
  });

  it('goes down when both are stalled, and up when one of them has room, though no frame comes', async () => {
    await world.starve([0, 1], 60);
    expect(world.errors).toHaveLength(2);
    expect(world.errors[1]).toMatch(/takes no frames by queue . for 60 s: its link is down until it does$/);
    expect(world.port.carriers).toEqual([true, false]);
    expect(world.recovered).toEqual([]);
    await world.post(1, 1);
    expect(world.port.carriers).toEqual([true, false, true]);
    expect(world.recovered).toEqual([1]);
    await world.post(0, 1);
    expect(world.port.carriers).toEqual([true, false, true]);
    expect(world.recovered).toEqual([1, 0]);
  });

  it('goes down again when the guest stalls again', async () => {
    await world.starve([0, 1], 60);
    await world.post(1, 1);
    // The buffer is taken by the first of them.
    world.port.queues[1]!.put(new Uint8Array(60));
    await world.starve([1], 60);
    expect(world.port.carriers).toEqual([true, false, true, false]);
  });
});

describe('the link of a guest that stalls', () => {
  let world: StallWorld;
  beforeEach(async () => {
    world = new StallWorld(1);
    await world.connect(0);
  });
  afterEach(() => world.hypervisor.kill(world.xen));

  it('stays down until there are as many buffers as it had too few of, whatever events come', async () => {
    await world.post(0, 1);
    await world.starve([0], 9000);
    expect(world.port.carrier).toBe(false);
    for (const more of [0, 1]) {
      await world.post(0, more);
      world.queues[0]!.notify();
      await world.hypervisor.settle();
      expect(world.port.carrier).toBe(false);
    }
    await world.post(0, 1);
    expect(world.port.carrier).toBe(true);
    expect(world.recovered).toEqual([0]);
    world.port.queues[0]!.put(new Uint8Array(9000));
    await world.hypervisor.settle();
    expect(world.queues[0]!.rxResponses()).toHaveLength(3);
  });

  it.each(['killed', 'stopped'] as const)(
    'is up in the next process, when one was %s that took it down',
    async (how) => {
      await world.starve([0], 60);
      expect(world.port.carrier).toBe(false);
      if (how === 'killed') world.hypervisor.kill(world.xen);
      else {
        const ending = world.netback[Symbol.asyncDispose]();
        await world.hypervisor.settle();
        await ending;
      }
      expect(world.port.carrier).toBe(false);
      await world.live();
      expect(world.port.carrier).toBe(true);
      // The times start again from zero.
      await world.starve([0], 60);
      expect(world.port.carrier).toBe(false);
    },
  );
});
