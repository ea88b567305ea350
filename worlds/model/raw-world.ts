import type { VifdError } from '../../lib/errors.js';
import type { NetbackOptions } from '../../lib/netback/netback.js';
import type { PayloadMode } from '../../lib/netback/settings.js';
import type { AttachedHow } from '../../lib/netback/vif/vif-parts.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import type { Xen } from '../../lib/xen/seam.js';
import { type Machine, modelMachine } from './machine.js';
import { ModelWorld } from './model-world.js';
import { RawGuest } from './raw-guest.js';
import { TestPort } from './test-port.js';

/** A world of raw guests, whose vifs have test ports: one for all processes of the backend, as a persistent tap is. */
export class World extends ModelWorld {
  readonly ports = new Map<VifId, TestPort>();
  readonly errors: VifdError[] = [];
  readonly mended: VifdError[] = [];
  readonly attached: AttachedHow[] = [];
  readonly detached: string[] = [];
  readonly gone: VifId[] = [];

  static async open(machine: Machine = modelMachine()): Promise<World> {
    return new World(machine, await machine.open(0));
  }

  /** Connects the guests and begins a process of the backend. */
  async start(
    payload: PayloadMode,
    guests: readonly RawGuest[] = [],
    options: Partial<
      Pick<NetbackOptions, 'without' | 'port' | 'removeLeftPort' | 'accept' | 'filter' | 'hook'>
    > = {},
    seenAs?: (xen: Xen) => Xen,
  ): Promise<void> {
    for (const guest of guests) await this.settled(guest.connect(this.toolstack));
    const port = ({ id }: { id: VifId }) => {
      const made = this.ports.get(id) ?? new TestPort();
      this.ports.set(id, made);
      return made;
    };
    await this.begin(
      { port, payload, ...options },
      {
        attached: (_vif, how) => this.attached.push(how),
        detached: (_vif, why) => this.detached.push(why),
        gone: ({ id }) => this.gone.push(id),
        error: (error) => this.errors.push(error),
        mended: (error) => this.mended.push(error),
      },
      seenAs,
    );
  }

  async guest(domid: number): Promise<RawGuest> {
    return new RawGuest(await this.machine.open(domid));
  }

  port(id: VifId): TestPort {
    const port = this.ports.get(id);
    if (port === undefined) throw new Error(`no port was opened for ${id}`);
    return port;
  }
}
