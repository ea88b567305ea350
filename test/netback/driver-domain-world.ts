import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback, type NetbackOptions } from '../../lib/netback/netback.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { createVif } from '../../lib/testing/netfront/index.js';
import { Netfront } from '../../lib/testing/netfront/netfront.js';
import type { Quota } from '../../lib/testing/xenstored/quota.js';
import { TestPort } from './raw-guest.js';

export const BACKEND = 5;

/** A backend in a driver domain: an unprivileged one, with xenstored's rights and quotas, which sees of a guest what libxl lets it see. */
export class DriverDomain {
  readonly hypervisor: ModelHypervisor;
  readonly toolstack: ModelXen;
  readonly ports = new Map<VifId, TestPort>();
  readonly errors: string[] = [];
  readonly mended: string[] = [];
  readonly attached: VifId[] = [];
  readonly journals = memoryJournals();
  backend!: ModelXen;
  netback!: Netback;

  /** @param quota where it is not what xenstored has by default. */
  constructor(quota: Partial<Quota> = {}) {
    this.hypervisor = new ModelHypervisor({ quota });
    this.toolstack = this.hypervisor.open(0);
  }

  async open(): Promise<this> {
    await this.done(
      this.toolstack.store.transaction(async (view) => {
        for (const path of ['', '/backend', '/backend/vif'].map((end) => `/local/domain/${BACKEND}${end}`)) {
          await view.mkdir(path);
          await view.setPermissions(path, [{ domid: BACKEND, access: 'none' }]);
        }
      }),
    );
    await this.start();
    return this;
  }

  async start(options: Partial<NetbackOptions> = {}): Promise<void> {
    this.backend = this.hypervisor.open(BACKEND);
    const port = ({ id }: { id: VifId }) => {
      const made = new TestPort();
      this.ports.set(id, made);
      return made;
    };
    this.netback = await this.done(
      Netback.open(
        { xen: this.backend, port, journals: this.journals, ...options },
        {
          attached: ({ id }) => this.attached.push(id),
          error: ({ message }) => this.errors.push(message),
          mended: ({ message }) => this.mended.push(message),
        },
      ),
    );
    await this.hypervisor.settle();
  }

  kill(): void {
    this.hypervisor.kill(this.backend);
    this.attached.length = 0;
  }

  /** Writes what libxl writes of a guest with one vif, which only the guest and its backend may read. */
  async addVif(domid: number): Promise<void> {
    const { store } = this.toolstack;
    await this.done(
      store.transaction(async (view) => {
        for (const path of ['', '/device', '/device/vif'].map((end) => `/local/domain/${domid}${end}`)) {
          await view.mkdir(path);
          await view.setPermissions(path, [
            { domid: 0, access: 'none' },
            { domid, access: 'read' },
          ]);
        }
        const own = `${this.node(domid).slice(0, -2)}`;
        await view.mkdir(own);
        await view.setPermissions(own, [{ domid: BACKEND, access: 'none' }]);
      }),
    );
    await this.done(createVif(store, { domid, handle: 0, backendDomid: BACKEND, mac: '00:16:3e:00:00:07' }));
    await this.hypervisor.settle();
  }

  async connect(domid: number): Promise<Netfront> {
    const guest = this.hypervisor.open(domid);
    const front = await this.done(
      Netfront.connect({
        xen: guest,
        port: new TestPort(),
        domid,
        handle: 0,
        backendDomid: BACKEND,
        seed: 1,
        queues: 1,
        keepGrants: false,
        closeTimeoutMs: 2000,
        onViolation: () => {},
      }),
    );
    await this.hypervisor.advance(100);
    return front;
  }

  node(domid: number): string {
    return `/local/domain/${BACKEND}/backend/vif/${domid}/0`;
  }

  frontend(domid: number): string {
    return `/local/domain/${domid}/device/vif/0`;
  }

  state(domid: number): Promise<string | undefined> {
    return this.done(this.toolstack.store.read(`${this.node(domid)}/state`));
  }

  /** libxl's removal; forced, it takes the guest's end away in the same transaction. */
  async remove(domid: number, force: boolean): Promise<void> {
    await this.done(
      this.toolstack.store.transaction(async (view) => {
        if (force) await view.rm(this.frontend(domid));
        await view.write(`${this.node(domid)}/online`, '0');
        await view.write(`${this.node(domid)}/state`, '5');
      }),
    );
    await this.hypervisor.settle();
  }

  async done<T>(work: PromiseLike<T>): Promise<T> {
    await this.hypervisor.settle();
    return work;
  }

  async close(): Promise<void> {
    await this.done(this.netback[Symbol.asyncDispose]());
    await this.done(this.backend[Symbol.asyncDispose]());
  }
}
