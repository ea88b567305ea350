import type { Journals } from '../../durable/journal.js';
import { VifdError } from '../../errors.js';
import type {
  Clock,
  Events,
  Grants,
  LastingEvents,
  Shares,
  Store,
  StoredEvents,
  Xen,
} from '../../xen/seam.js';
import type { EventHandles } from './event-handles.js';
import type { EventPorts } from './event-ports.js';
import { ModelEvents } from './events.js';
import { type HostFails, HostOf } from './faults.js';
import { GatedStore } from './gated-store.js';
import { ModelGrants } from './grants.js';
import { Instance, type OnStep } from './instance.js';
import { ModelLastingEvents } from './lasting-events.js';
import type { GrantTables } from './memory.js';
import type { RunQueue } from './queue.js';
import { ModelShares } from './shares.js';

/** The parts of the machine that all domains share. */
export interface Machine {
  readonly queue: RunQueue;
  readonly tables: GrantTables;
  readonly ports: EventPorts;
  /** Undefined: event channels end with the process that has bound them. */
  readonly handles: EventHandles | undefined;
  readonly watchesLate: boolean;
  /** Whether the next operation of a grant batch must fail. */
  readonly grantFails: () => boolean;
  readonly hostFails: HostFails | undefined;
  clockOf(instance: Instance): Clock;
  storeOf(domid: number): Store;
  hasDomain(domid: number): boolean;
  /** Those of the backend in a domain, which outlive its processes as the guests' rings do. */
  journalsOf(domid: number): Journals;
}

/** Options of `ModelHypervisor.open`. */
export interface InstanceOptions {
  /** Called before each operation that others can observe. Throw ModelKilled in it to end the instance at that place. */
  readonly onStep?: OnStep;
}

/** The hypervisor for one instance in a domain of the model. */
export class ModelXen implements Xen {
  readonly domid: number;
  readonly grants: Grants;
  readonly events: Events;
  readonly openLastingEvents?: (stored?: StoredEvents) => LastingEvents;
  readonly store: Store;
  readonly clock: Clock;
  /** Memory to grant to other domains. */
  readonly shares: Shares;
  readonly journals: Journals;
  readonly #instance: Instance;
  readonly #machine: Machine;

  /** @internal `ModelHypervisor.open` makes it. */
  constructor(machine: Machine, domid: number, options: InstanceOptions) {
    const instance = new Instance(domid, options.onStep);
    this.#instance = instance;
    this.#machine = machine;
    this.domid = domid;
    const host = new HostOf(machine.hostFails, domid);
    this.grants = new ModelGrants(instance, machine.tables, machine.grantFails, host);
    const { handles, ports, queue } = machine;
    this.events = new ModelEvents({ instance, ports, host, handles });
    if (handles !== undefined) {
      const parts = { instance, ports, host, handles, queue };
      this.openLastingEvents = (stored) => new ModelLastingEvents(parts, stored);
    }
    this.clock = machine.clockOf(instance);
    this.journals = machine.journalsOf(domid);
    this.shares = new ModelShares(instance, machine.tables);
    this.store = new GatedStore({
      instance,
      inner: machine.storeOf(domid),
      queue: machine.queue,
      watchesLate: machine.watchesLate,
    });
  }

  /** False once the instance was killed or disposed of. */
  get alive(): boolean {
    return this.#instance.alive;
  }

  domainExists(domid: number): boolean | undefined {
    return this.domid === 0 && this.#instance.alive ? this.#machine.hasDomain(domid) : undefined;
  }

  /**
   * A step of your own: code under test calls it between stores to shared memory, which the model does not observe.
   * @throws ModelKilled if the instance is over, or ends here.
   */
  step(what: string): void {
    this.#instance.step(what);
  }

  /** Returns the resources that the instance has not released: mapped grants, open ports, watches. Empty at an orderly end. */
  leaks(): string[] {
    return this.#instance.leaks();
  }

  /**
   * Begins the end of a killed process: it runs no code any more. It has its mappings and ports until `kill`, as a process whose memory the
   * kernel frees.
   */
  beginExit(): void {
    this.#instance.stop();
  }

  /** Ends the instance as SIGKILL does: all its resources are released at once, and none of its callbacks runs again. */
  kill(): void {
    this.#instance.end();
  }

  /** Ends the instance. @throws ERR_STATE, after that, if it has not released the resources that `leaks` lists. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#instance.alive) return;
    const leaks = this.leaks();
    await this.store[Symbol.asyncDispose]();
    this.#instance.end();
    if (leaks.length > 0) {
      throw new VifdError('ERR_STATE', `domain ${this.domid} did not give back: ${leaks.join('; ')}`);
    }
  }
}
