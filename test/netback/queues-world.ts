import { expect } from 'vitest';
import { memoryJournals } from '../../lib/durable/journal.js';
import type { VifdError } from '../../lib/errors.js';
import { Netback } from '../../lib/netback/netback.js';
import {
  createVif,
  ManyQueues,
  Netfront,
  type NetfrontOptions,
  TrafficPort,
} from '../../lib/testing/netfront/index.js';
import type { Xen } from '../../lib/xen/seam.js';
import type { Machine } from './machine.js';

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

/** A guest with several queues, the network behind each of them, and one life of the backend after the other. */
export class QueuesWorld {
  readonly journals = memoryJournals();
  readonly errors: VifdError[] = [];
  readonly resumed: boolean[] = [];
  readonly host: TrafficPort[];
  guest: TrafficPort[] = [];
  front!: Netfront;
  netback!: Netback;
  life!: Xen;
  readonly toolstack: Xen;
  readonly #machine: Machine;

  static async open(machine: Machine, queues: number): Promise<QueuesWorld> {
    const world = new QueuesWorld(machine, await machine.open(0), queues);
    await world.settled(createVif(world.toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }));
    return world;
  }

  private constructor(machine: Machine, toolstack: Xen, queues: number) {
    this.#machine = machine;
    this.toolstack = toolstack;
    this.host = trafficPorts(queues, 100, 200);
  }

  async start(queues = this.host.length): Promise<void> {
    this.life = await this.#machine.open(0);
    this.netback = await this.settled(
      Netback.open(
        { xen: this.life, port: () => new ManyQueues(this.host), queues, journals: this.journals },
        {
          attached: (_vif, { resumed }) => this.resumed.push(resumed),
          error: (error) => this.errors.push(error),
        },
      ),
    );
    await this.#machine.settle();
  }

  async connect(options: Partial<NetfrontOptions> & { queues: number }, xen?: Xen): Promise<void> {
    this.guest = trafficPorts(options.queues, 200, 100);
    this.front = await this.settled(
      Netfront.connect({
        xen: xen ?? (await this.#machine.open(7)),
        handle: 0,
        port: new ManyQueues(this.guest),
        ...options,
      }),
    );
    await this.#machine.settle();
  }

  /** Frames both ways in each queue of the guest. */
  async send(frames = FRAMES): Promise<void> {
    this.guest.forEach((port, queue) => {
      port.send(frames);
      this.host[queue].send(frames);
    });
    for (let round = 0; round < 40 && !this.#moved(); round++) await this.#machine.settle();
  }

  #moved(): boolean {
    const came = (to: TrafficPort, from: TrafficPort) =>
      !from.generator?.ready && to.checker?.counts.next === from.generator?.sent;
    return this.guest.every((port, queue) => came(port, this.host[queue]) && came(this.host[queue], port));
  }

  /** All frames came, in the queue that they were sent in, in order and unchanged. */
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

  read(path: string): Promise<string | undefined> {
    return this.settled(this.toolstack.store.read(path));
  }

  async settled<T>(work: PromiseLike<T>): Promise<T> {
    await this.#machine.settle();
    return work;
  }

  settle(): Promise<void> {
    return this.#machine.settle();
  }

  kill(): void {
    this.#machine.kill(this.life);
  }

  async stop(): Promise<void> {
    await this.settled(this.netback[Symbol.asyncDispose]());
    await this.settled(this.life[Symbol.asyncDispose]());
  }

  async end(): Promise<void> {
    await this.settled(this.front.close());
    await this.stop();
    await this.#machine.close();
  }
}
