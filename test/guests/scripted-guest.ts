import { XenbusState } from '../../lib/protocol/xenbus.js';
import type { ModelXen } from '../../lib/testing/model/index.js';
import { StateWatch } from '../../lib/testing/netfront/index.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { DOMID, type Host } from './host.js';

/** The operations of a kind of guest on the store, step by step, according to its source. */
export interface GuestScript {
  readonly name: string;
  /** The source. */
  readonly source: string;
  /** Connects, from any state of both ends. */
  connect(guest: ScriptedGuest): Promise<void>;
  /** The guest's driver disconnects from the device. */
  disconnect(guest: ScriptedGuest): Promise<void>;
  /** States of the backend that it treats as a fault. */
  readonly fears?: readonly XenbusState[];
  /** It sends no event when it posts receive buffers. */
  readonly postsQuietly?: boolean;
}

/** A guest of one vif, whose handshake a script writes. */
export class ScriptedGuest {
  readonly host: Host;
  readonly xen: ModelXen;
  /** The rings and channels of the present connection. */
  rings!: RawGuest;
  #backend: StateWatch | undefined;

  constructor(host: Host) {
    this.host = host;
    this.xen = host.hypervisor.open(DOMID);
  }

  /** New rings and channels. @returns their keys. */
  offer(channels: 1 | 2): Record<string, string> {
    this.rings = new RawGuest(this.xen);
    return this.rings.offer(channels);
  }

  async read(key: string): Promise<string | undefined> {
    try {
      return await this.xen.store.read(`${this.host.paths.backendPath}/${key}`);
    } catch {
      // xenstored reports EACCES to a guest for a node that does not exist.
      return undefined;
    }
  }

  /** Writes keys below the frontend, all or none. */
  write(keys: Record<string, string | number>): Promise<void> {
    const { frontendPath } = this.host.paths;
    return this.xen.store.transaction(async (view) => {
      for (const [key, value] of Object.entries(keys)) await view.write(`${frontendPath}/${key}`, `${value}`);
    });
  }

  async remove(...keys: string[]): Promise<void> {
    for (const key of keys) await this.xen.store.rm(`${this.host.paths.frontendPath}/${key}`);
  }

  /** Writes its own state, unless it has that state already (as xenbus_switch_state). */
  async say(state: XenbusState): Promise<void> {
    await this.xen.store.write(`${this.host.paths.frontendPath}/state`, `${state}`);
  }

  async backend(): Promise<StateWatch> {
    this.#backend ??= await StateWatch.open(this.xen.store, `${this.host.paths.backendPath}/state`);
    return this.#backend;
  }

  async until(...states: XenbusState[]): Promise<XenbusState> {
    const watch = await this.backend();
    return watch.until(states, { clock: this.xen.clock });
  }

  /** The next state that is not `state`. */
  async change(state: XenbusState, timeoutMs: number): Promise<XenbusState> {
    const all = Object.values(XenbusState).filter((other) => other !== state);
    const watch = await this.backend();
    return watch.until(all, { clock: this.xen.clock, timeoutMs });
  }
}
