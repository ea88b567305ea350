import { type Journals, memoryJournals } from '../../lib/durable/journal.js';
import type { VifdError } from '../../lib/errors.js';
import { Netback, type NetbackOptions } from '../../lib/netback/netback.js';
import type { PayloadMode } from '../../lib/netback/settings.js';
import type { AttachedHow } from '../../lib/netback/vif/vif-parts.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import type { Xen } from '../../lib/xen/seam.js';
import { type Machine, modelMachine } from './machine.js';
import { RawGuest, TestPort } from './raw-guest.js';

/** A machine with a toolstack, raw guests, and one life of the backend after the other. */
export class World {
  readonly machine: Machine;
  readonly toolstack: Xen;
  readonly ports = new Map<VifId, TestPort>();
  readonly errors: VifdError[] = [];
  readonly mended: VifdError[] = [];
  readonly attached: AttachedHow[] = [];
  readonly detached: string[] = [];
  readonly gone: VifId[] = [];
  journals: Journals = memoryJournals();
  dom0!: Xen;
  netback!: Netback;
  #killed = false;

  static async open(machine: Machine = modelMachine()): Promise<World> {
    return new World(machine, await machine.open(0));
  }

  private constructor(machine: Machine, toolstack: Xen) {
    this.machine = machine;
    this.toolstack = toolstack;
  }

  /** Connects the guests and begins a life of the backend. */
  async start(
    payload: PayloadMode,
    guests: readonly RawGuest[] = [],
    options: Partial<Pick<NetbackOptions, 'without' | 'port' | 'removeLeftPort' | 'accept' | 'hook'>> = {},
    seenAs: (xen: Xen) => Xen = (xen) => xen,
  ): Promise<void> {
    for (const guest of guests) await this.settled(guest.connect(this.toolstack));
    this.dom0 = await this.machine.open(0);
    this.#killed = false;
    const port = ({ id }: { id: VifId }) => {
      const made = this.ports.get(id) ?? new TestPort();
      this.ports.set(id, made);
      return made;
    };
    this.netback = await this.settled(
      Netback.open(
        { xen: seenAs(this.dom0), port, payload, journals: this.journals, ...options },
        {
          attached: (_vif, how) => this.attached.push(how),
          detached: (_vif, why) => this.detached.push(why),
          gone: ({ id }) => this.gone.push(id),
          error: (error) => this.errors.push(error),
          mended: (error) => this.mended.push(error),
        },
      ),
    );
    await this.machine.settle();
  }

  async guest(domid: number): Promise<RawGuest> {
    return new RawGuest(await this.machine.open(domid));
  }

  port(id: VifId): TestPort {
    const port = this.ports.get(id);
    if (port === undefined) throw new Error(`no port was opened for ${id}`);
    return port;
  }

  settle(): Promise<void> {
    return this.machine.settle();
  }

  async settled<T>(work: PromiseLike<T>): Promise<T> {
    await this.machine.settle();
    return work;
  }

  /** SIGKILL. */
  kill(): void {
    this.machine.kill(this.dom0);
    this.#killed = true;
  }

  /** Ends the backend's life in order. On the model this fails when it leaves a mapping, a port or a watch behind. */
  async stop(): Promise<void> {
    if (this.#killed) return;
    this.#killed = true;
    await this.settled(this.netback[Symbol.asyncDispose]());
    await this.settled(this.dom0[Symbol.asyncDispose]());
  }

  async close(): Promise<void> {
    await this.stop();
    await this.machine.close();
  }
}
