import { VifdError } from '../../errors.js';
import type { Clock, Store, Xen } from '../../xen/seam.js';
import { type EventPorts, ModelEvents } from './events.js';
import { type HostFails, HostOf } from './faults.js';
import { GatedStore } from './gated-store.js';
import { ModelGrants } from './grants.js';
import { Life, type OnStep } from './life.js';
import type { GrantTables } from './memory.js';
import type { RunQueue } from './queue.js';
import { ModelShares } from './shares.js';

/** What all domains have in common. */
export interface Machine {
  readonly queue: RunQueue;
  readonly tables: GrantTables;
  readonly ports: EventPorts;
  readonly watchesLate: boolean;
  /** True when the next operation of a grant batch shall fail. */
  readonly grantFails: () => boolean;
  readonly hostFails: HostFails | undefined;
  clockOf(life: Life): Clock;
  storeOf(domid: number): Store;
  hasDomain(domid: number): boolean;
}

export interface LifeOptions {
  /** Called before each operation that others can see. Throw ModelKilled in it to end the life right there. */
  readonly onStep?: OnStep;
}

/** One life of a process in a domain of the model. */
export class ModelXen implements Xen {
  readonly domid: number;
  readonly grants: ModelGrants;
  readonly events: ModelEvents;
  readonly store: Store;
  readonly clock: Clock;
  readonly shares: ModelShares;
  readonly #life: Life;
  readonly #machine: Machine;

  constructor(machine: Machine, domid: number, options: LifeOptions) {
    const life = new Life(domid, options.onStep);
    this.#life = life;
    this.#machine = machine;
    this.domid = domid;
    const host = new HostOf(machine.hostFails, domid);
    this.grants = new ModelGrants(life, machine.tables, machine.grantFails, host);
    this.events = new ModelEvents(life, machine.ports, host);
    this.clock = machine.clockOf(life);
    this.shares = new ModelShares(life, machine.tables);
    this.store = new GatedStore({
      life,
      inner: machine.storeOf(domid),
      queue: machine.queue,
      watchesLate: machine.watchesLate,
    });
  }

  get alive(): boolean {
    return this.#life.alive;
  }

  domainExists(domid: number): boolean | undefined {
    return this.domid === 0 && this.#life.alive ? this.#machine.hasDomain(domid) : undefined;
  }

  /**
   * A step of your own: code under test calls it between stores to shared memory, where the model cannot look.
   * @throws ModelKilled when the life is over, or ends here.
   */
  step(what: string): void {
    this.#life.step(what);
  }

  /** What an orderly end would leave behind: mapped grants, open ports, watches. Empty when all is well. */
  leaks(): string[] {
    return this.#life.leaks();
  }

  /** Ends the life as SIGKILL does: everything it holds is taken away at once and none of its callbacks runs again. */
  kill(): void {
    this.#life.end();
  }

  /** Ends the life. @throws ERR_STATE, after that, when it did not give back what `leaks` lists. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#life.alive) return;
    const leaks = this.leaks();
    await this.store[Symbol.asyncDispose]();
    this.#life.end();
    if (leaks.length > 0) {
      throw new VifdError('ERR_STATE', `domain ${this.domid} did not give back: ${leaks.join('; ')}`);
    }
  }
}
