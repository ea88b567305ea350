import { expect } from 'vitest';
import type { VifdError } from '../../lib/errors.js';
import {
  createVif,
  ManyQueues,
  Netfront,
  type NetfrontOptions,
  TrafficPort,
} from '../../lib/testing/netfront/index.js';
import type { Xen } from '../../lib/xen/seam.js';
import type { Machine } from '../../worlds/model/machine.js';
import { ModelWorld } from '../../worlds/model/model-world.js';

/** Frames of `send`, in each queue and direction. */
export const FRAMES = 200;

/** Each queue has frames of its own, so that order can be seen. */
export const trafficPorts = (queues: number, sends: number, expects: number) =>
  Array.from(
    { length: queues },
    (_, queue) =>
      new TrafficPort({
        generate: { seed: sends + queue, sizes: [60, 9000, 1514], frames: 0 },
        check: { seed: expects + queue },
      }),
  );

/** A world of one guest with several queues, and the network behind each of them. */
export class QueuesWorld extends ModelWorld {
  readonly errors: VifdError[] = [];
  readonly resumed: boolean[] = [];
  readonly host: TrafficPort[] = [];
  guest: TrafficPort[] = [];
  front!: Netfront;

  static async open(machine: Machine, queues: number): Promise<QueuesWorld> {
    const world = new QueuesWorld(machine, await machine.open(0));
    world.host.push(...trafficPorts(queues, 100, 200));
    await world.settled(createVif(world.toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }));
    return world;
  }

  start(queues = this.host.length): Promise<void> {
    return this.begin(
      { port: () => new ManyQueues(this.host), queues },
      {
        attached: (_vif, { resumed }) => this.resumed.push(resumed),
        error: (error) => this.errors.push(error),
      },
    );
  }

  async connect(options: Partial<NetfrontOptions> & { queues: number }, xen?: Xen): Promise<void> {
    this.guest = trafficPorts(options.queues, 200, 100);
    this.front = await this.settled(
      Netfront.connect({
        xen: xen ?? (await this.machine.open(7)),
        handle: 0,
        port: new ManyQueues(this.guest),
        ...options,
      }),
    );
    await this.machine.settle();
  }

  /** Sends frames in both directions in each queue of the guest. */
  async send(frames = FRAMES): Promise<void> {
    this.guest.forEach((port, queue) => {
      port.send(frames);
      this.host[queue].send(frames);
    });
    for (let round = 0; round < 40 && !this.#moved(); round++) await this.machine.settle();
  }

  #moved(): boolean {
    const came = (to: TrafficPort, from: TrafficPort) =>
      !from.generator?.ready && to.checker?.counts.next === from.generator?.sent;
    return this.guest.every((port, queue) => came(port, this.host[queue]) && came(this.host[queue], port));
  }

  /** Expects that all frames came, in the queue in which they were sent, in order and unchanged. */
  expectAll(frames: number): void {
    const all = { next: frames, frames, lost: 0, repeated: 0, reordered: 0, damaged: 0, foreign: 0 };
    for (const [queue, port] of this.guest.entries()) {
      expect(port.checker?.counts, `to the guest, queue ${queue}`).toMatchObject(all);
      expect(this.host[queue].checker?.counts, `from the guest, queue ${queue}`).toMatchObject(all);
    }
    expect(this.front.violations.list).toEqual([]);
  }

  get vif() {
    return this.netback.vifs.get('vif7.0');
  }

  async end(): Promise<void> {
    await this.settled(this.front.close());
    await this.close();
  }
}
