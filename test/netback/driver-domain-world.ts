import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { Netfront } from '../../lib/testing/netfront/index.js';
import type { Quota } from '../../lib/testing/xenstored/quota.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { ToolstackWorld } from './toolstack-world.js';

export const BACKEND = 5;

/**
 * A backend in a driver domain: an unprivileged one, with xenstored's rights and quotas, which owns its own node and sees of a guest
 * what libxl lets it see.
 */
export class DriverDomain extends ToolstackWorld {
  /** @param quota where it is not what xenstored has by default. */
  constructor(quota: Partial<Quota> = {}) {
    super(BACKEND, new ModelHypervisor({ quota }));
  }

  override kill(): void {
    super.kill();
    this.attached.length = 0;
  }

  override async makeFolders(): Promise<void> {
    for (const end of ['', '/backend', '/backend/vif'])
      await this.folder(`/local/domain/${BACKEND}${end}`, { domid: BACKEND, access: 'none' });
  }

  /** Creates the nodes of libxl for a guest with one vif, which only the guest and its backend may read. */
  override async makeGuest(domid: number): Promise<void> {
    for (const end of ['', '/device', '/device/vif'])
      await this.folder(
        `/local/domain/${domid}${end}`,
        { domid: 0, access: 'none' },
        { domid, access: 'read' },
      );
    await this.folder(this.node(domid).slice(0, -2), { domid: BACKEND, access: 'none' });
  }

  async connectFront(domid: number): Promise<Netfront> {
    const front = await this.settled(
      Netfront.connect({
        xen: this.hypervisor.open(domid),
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

  /** Removes a vif as libxl does, without its waiting; forced, it removes the guest's end in the same transaction. */
  async removeAtOnce(domid: number, force: boolean): Promise<void> {
    await this.settled(
      this.toolstack.store.transaction(async (view) => {
        if (force) await view.rm(this.frontend(domid));
        await view.write(`${this.node(domid)}/online`, '0');
        await view.write(`${this.node(domid)}/state`, '5');
      }),
    );
    await this.settle();
  }
}
