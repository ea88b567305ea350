import { type Journals, memoryJournals } from '../../durable/journal.js';
import { VifdError } from '../../errors.js';
import { modelStoreClient } from '../xenstored/client.js';
import type { Quota } from '../xenstored/quota.js';
import { ModelStore } from '../xenstored/store.js';
import { realClockOf, VirtualTime } from './clock.js';
import { EventHandles, type HandleDescriptors } from './event-handles.js';
import { EventPorts } from './event-ports.js';
import { everyNth, type ModelFaults } from './faults.js';
import { GrantTables } from './memory.js';
import { RunQueue } from './queue.js';
import { Random } from './random.js';
import { type InstanceOptions, type Machine, ModelXen } from './xen.js';

/** Options of `createModel` and of `ModelHypervisor`. */
export interface ModelOptions {
  /** Decides grant references, ports, and the order in which events arrive. Default: events arrive in the order of sending. */
  readonly seed?: number;
  /**
   * For programs: events arrive by themselves and the clock is the machine's. Default: events and time move only by `settle` and `advance`.
   */
  readonly autorun?: boolean;
  /** How many callbacks `settle` runs before it gives up. Default 100 000. */
  readonly stepsMax?: number;
  /** Rare faults that Xen may cause. Default: none. */
  readonly faults?: ModelFaults;
  /** The quotas of the store for domains other than dom0. Default: xenstored's. */
  readonly quota?: Partial<Quota>;
  /** With these, instances have `openLastingEvents`: event channels that another instance can take over. */
  readonly descriptors?: HandleDescriptors;
}

/**
 * Xen in one process, in TypeScript alone: any number of domains with grant tables, event channels and the store. The same seed and the same
 * calls give the same run. Without `autorun`, time passes and events arrive only by `settle` and `advance`.
 */
export class ModelHypervisor {
  /** The store of all domains, for programs that serve it to other processes or act as the toolstack. */
  readonly store: ModelStore;
  readonly #machine: Machine;
  readonly #time: VirtualTime | undefined;
  readonly #journals = new Map<number, Journals>();

  /** @param options the order of events, the clock, faults and quotas. */
  constructor(options: ModelOptions = {}) {
    const { seed, autorun = false, stepsMax = 100_000, faults = {}, quota = {}, descriptors } = options;
    this.store = new ModelStore({ quota });
    const order = seed === undefined ? undefined : new Random(seed);
    const numbers = new Random(~(seed ?? 0));
    const queue = new RunQueue({ random: order, autorun, stepsMax });
    const time = autorun ? undefined : new VirtualTime(queue);
    this.#time = time;
    const ports = new EventPorts(queue, numbers, faults.strayEventEvery);
    const handles = descriptors && new EventHandles(descriptors, ports);
    this.#machine = {
      queue,
      tables: new GrantTables(numbers, (domid) => this.store.isIntroduced(domid)),
      ports,
      handles,
      watchesLate: faults.watchesLate ?? false,
      grantFails: everyNth(faults.grantFailsEvery),
      hostFails: faults.host,
      clockOf: (instance) => time?.clockOf(instance) ?? realClockOf(instance),
      // A domain exists from its first process until the toolstack releases it.
      hasDomain: (domid) => this.store.isIntroduced(domid),
      storeOf: (domid) => modelStoreClient(this.store, domid),
      journalsOf: (domid) => {
        const journals = this.#journals.get(domid) ?? memoryJournals();
        this.#journals.set(domid, journals);
        return journals;
      },
    };
  }

  /** Starts an instance in domain `domid`. The first instance creates the domain. Instances may overlap. */
  open(domid: number, options: InstanceOptions = {}): ModelXen {
    if (!Number.isInteger(domid) || domid < 0 || domid >= 0x7ff0) {
      throw new VifdError('ERR_ARGUMENT', `${domid} is not a domain id: give a whole number in [0, 32752)`);
    }
    this.#machine.tables.addDomain(domid);
    this.#machine.ports.addDomain(domid);
    if (!this.store.isIntroduced(domid)) this.store.introduce(domid);
    return new ModelXen(this.#machine, domid, options);
  }

  /** Ends an instance as SIGKILL does. */
  kill(xen: ModelXen): void {
    xen.kill();
  }

  /**
   * Runs events, watches, due timers, and the promises that they lead to, until none waits. Does not wait for files, sockets or the machine's
   * timers; with `autorun` all timers are the machine's.
   * @throws ERR_STATE if `stepsMax` callbacks were not enough; and any error that a callback throws.
   */
  settle(): Promise<void> {
    this.#machine.handles?.sweep();
    return this.#machine.queue.settle();
  }

  /** Lets virtual time pass and settles at every moment at which a timer fires. */
  async advance(ms: number): Promise<void> {
    if (this.#time === undefined)
      throw new VifdError('ERR_STATE', 'the clock is real in autorun mode: wait instead');
    await this.#time.advance(ms);
  }
}
