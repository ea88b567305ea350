import type { NetbackOptions } from '../../lib/netback/netback.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import {
  createVif,
  type RemoveOptions,
  removeVif,
  type VifOptions,
} from '../../lib/testing/netfront/toolstack.js';
import type { Permission, Store } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import { ModelWorld } from '../../worlds/model/model-world.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';

/** A backend in dom0 or in a driver domain, and a toolstack that manages its vifs. */
export class ToolstackWorld extends ModelWorld {
  readonly hypervisor: ModelHypervisor;
  /** The ports that were opened for each vif, the last one last. */
  readonly ports = new Map<VifId, TestPort[]>();
  readonly errors: string[] = [];
  readonly mended: string[] = [];
  readonly attached: VifId[] = [];
  readonly gone: VifId[] = [];
  readonly detached: [VifId, string][] = [];

  constructor(backendDomid = 0, hypervisor = new ModelHypervisor()) {
    super(modelMachine(hypervisor), hypervisor.open(0), backendDomid);
    this.hypervisor = hypervisor;
  }

  async open(options: Partial<NetbackOptions> = {}): Promise<this> {
    await this.makeFolders();
    await this.start(options);
    return this;
  }

  get store(): Store {
    return this.toolstack.store;
  }

  /** Makes the folders of a driver domain, as libxl does: the domain may read its own folder, and owns that of its backends. */
  async makeFolders(): Promise<void> {
    const own = `/local/domain/${this.backendDomid}`;
    await this.folder(own, { domid: 0, access: 'none' }, { domid: this.backendDomid, access: 'read' });
    await this.folder(`${own}/backend`, { domid: this.backendDomid, access: 'none' });
  }

  start(options: Partial<NetbackOptions> = {}): Promise<void> {
    const port = ({ id }: { id: VifId }) => {
      const made = new TestPort();
      this.ports.set(id, [...(this.ports.get(id) ?? []), made]);
      return made;
    };
    return this.begin(
      { port, ...options },
      {
        attached: ({ id }) => this.attached.push(id),
        detached: ({ id }, why) => this.detached.push([id, why]),
        gone: ({ id }) => this.gone.push(id),
        error: ({ message }) => this.errors.push(message),
        mended: ({ message }) => this.mended.push(message),
      },
    );
  }

  async addVif(domid: number, handle = 0, more: Partial<VifOptions> = {}): Promise<void> {
    await this.makeGuest(domid);
    const { backendDomid } = this;
    await this.settled(
      createVif(this.store, { domid, handle, backendDomid, mac: '00:16:3e:00:00:07', ...more }),
    );
    await this.settle();
  }

  /** Makes the folder that libxl makes for each domain, which its guest may read. */
  async makeGuest(domid: number): Promise<void> {
    for (const end of ['', '/device'])
      await this.folder(
        `/local/domain/${domid}${end}`,
        { domid: 0, access: 'none' },
        { domid, access: 'read' },
      );
  }

  async guest(domid: number): Promise<RawGuest> {
    return new RawGuest(this.hypervisor.open(domid), this.backendDomid);
  }

  /** Begins a new connection of the guest, in one transaction. */
  async connect(domid: number, handle = 0): Promise<RawGuest> {
    const guest = await this.guest(domid);
    const front = this.frontend(domid, handle);
    const keys = { ...guest.offer(), 'request-rx-copy': '1', state: '4' };
    await this.settled(
      guest.xen.store.transaction(async (view) => {
        for (const [key, value] of Object.entries(keys)) await view.write(`${front}/${key}`, value);
      }),
    );
    await this.settle();
    return guest;
  }

  /** Removes a vif as libxl does, and waits as long. @returns whether the backend closed the vif in time. */
  async remove(domid: number, handle = 0, options: RemoveOptions = {}): Promise<boolean> {
    const { backendDomid } = this;
    const removed = removeVif(this.store, this.toolstack.clock, { domid, handle, backendDomid }, options);
    let closed: boolean | undefined;
    removed.then((answer) => {
      closed = answer;
    });
    await this.settle();
    for (let waited = 0; closed === undefined && waited < 40; waited++) await this.hypervisor.advance(1000);
    return removed;
  }

  port(id: VifId): TestPort {
    return this.ports.get(id)!.at(-1)!;
  }

  get watches(): number {
    return this.hypervisor.store.watches.count(this.backendDomid);
  }

  protected async folder(path: string, ...permissions: Permission[]): Promise<void> {
    if ((await this.read(path)) !== undefined) return;
    await this.settled(
      this.store.transaction(async (view) => {
        await view.mkdir(path);
        await view.setPermissions(path, permissions);
      }),
    );
  }
}
