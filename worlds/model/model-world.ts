import { type Journals, memoryJournals } from '../../lib/durable/journal.js';
import { Netback, type NetbackListeners, type NetbackOptions } from '../../lib/netback/netback.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import type { Xen } from '../../lib/xen/seam.js';
import type { Machine } from './machine.js';

export type BackendOptions = Omit<NetbackOptions, 'xen'>;

/** A machine with a toolstack, and one process of a backend after the other, which passes its journals to the next. */
export class ModelWorld {
  readonly machine: Machine;
  readonly toolstack: Xen;
  readonly backendDomid: number;
  journals: Journals = memoryJournals();
  backend!: Xen;
  netback!: Netback;
  #runs = false;

  constructor(machine: Machine, toolstack: Xen, backendDomid = 0) {
    this.machine = machine;
    this.toolstack = toolstack;
    this.backendDomid = backendDomid;
  }

  /** Begins a process of the backend. @param seenAs replaces the backend's door to the hypervisor. */
  async begin(
    options: BackendOptions,
    listeners: Partial<NetbackListeners>,
    seenAs: (xen: Xen) => Xen = (xen) => xen,
  ): Promise<void> {
    this.backend = await this.machine.open(this.backendDomid);
    this.#runs = true;
    const { journals } = this;
    this.netback = await this.settled(
      Netback.open({ xen: seenAs(this.backend), journals, ...options }, listeners),
    );
    await this.settle();
  }

  /** SIGKILL. */
  kill(): void {
    this.machine.kill(this.backend);
    this.#runs = false;
  }

  /** Ends the backend's process in order. On the model this fails when it leaves a mapping, a port or a watch behind. */
  async stop(): Promise<void> {
    if (!this.#runs) return;
    this.#runs = false;
    await this.settled(this.netback[Symbol.asyncDispose]());
    await this.settled(this.backend[Symbol.asyncDispose]());
  }

  async close(): Promise<void> {
    await this.stop();
    await this.machine.close();
  }

  /** Runs until all events are handled. */
  settle(): Promise<void> {
    return this.machine.settle();
  }

  /** Runs until all events are handled, then waits for the work. */
  async settled<T>(work: PromiseLike<T>): Promise<T> {
    await this.settle();
    return work;
  }

  node(domid: number, handle = 0): string {
    return backendVifPath(this.backendDomid, domid, handle);
  }

  frontend(domid: number, handle = 0): string {
    return frontendVifPath(domid, handle);
  }

  state(domid: number, handle = 0): Promise<string | undefined> {
    return this.read(`${this.node(domid, handle)}/state`);
  }

  /** Reads a node as the toolstack. */
  read(path: string): Promise<string | undefined> {
    return this.settled(this.toolstack.store.read(path));
  }

  async write(path: string, value: string): Promise<void> {
    await this.settled(this.toolstack.store.write(path, value));
    await this.settle();
  }

  async rm(path: string): Promise<void> {
    await this.settled(this.toolstack.store.rm(path));
    await this.settle();
  }
}
