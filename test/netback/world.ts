import type { VifdError } from '../../lib/errors.js';
import { Netback } from '../../lib/netback/netback.js';
import type { PayloadMode, VifId } from '../../lib/netback/types.js';
import type { AttachedHow } from '../../lib/netback/vif.js';
import { ModelHypervisor, type ModelXen } from '../../lib/xen/model/index.js';
import { RawGuest, TestPort } from './raw-guest.js';

/** A machine on the model: a toolstack, raw guests, and one life of the backend after the other. */
export class World {
  readonly hypervisor = new ModelHypervisor();
  readonly toolstack = this.hypervisor.open(0);
  readonly ports = new Map<VifId, TestPort>();
  readonly errors: VifdError[] = [];
  readonly attached: AttachedHow[] = [];
  readonly detached: string[] = [];
  dom0!: ModelXen;
  netback!: Netback;

  /** Connects the guests and begins a life of the backend. */
  async start(payload: PayloadMode, guests: readonly RawGuest[] = []): Promise<void> {
    for (const guest of guests) await this.settled(guest.connect(this.toolstack));
    this.dom0 = this.hypervisor.open(0);
    const port = ({ id }: { id: VifId }) => {
      const made = this.ports.get(id) ?? new TestPort();
      this.ports.set(id, made);
      return made;
    };
    this.netback = await this.settled(
      Netback.open(
        { xen: this.dom0, port, payload },
        {
          attached: (_vif, how) => this.attached.push(how),
          detached: (_vif, why) => this.detached.push(why),
          error: (error) => this.errors.push(error),
        },
      ),
    );
    await this.hypervisor.settle();
  }

  guest(domid: number): RawGuest {
    return new RawGuest(this.hypervisor.open(domid));
  }

  port(id: VifId): TestPort {
    const port = this.ports.get(id);
    if (port === undefined) throw new Error(`no port was opened for ${id}`);
    return port;
  }

  settle(): Promise<void> {
    return this.hypervisor.settle();
  }

  async settled<T>(work: Promise<T>): Promise<T> {
    await this.hypervisor.settle();
    return work;
  }

  /** SIGKILL. */
  kill(): void {
    this.hypervisor.kill(this.dom0);
  }

  /** Disposes of the backend; fails when it leaves a mapping, a port or a watch behind. */
  async close(): Promise<void> {
    if (!this.dom0.alive) return;
    await this.settled(this.netback[Symbol.asyncDispose]());
    await this.settled(this.dom0[Symbol.asyncDispose]());
  }
}
