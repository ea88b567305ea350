import { createVif, removeVif } from '../../lib/testing/netfront/index.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import type { Store } from '../../lib/xen/seam.js';
import { type BridgePlan, knowNeighbour } from '../../worlds/processes/bridge.js';
import type { Child } from '../../worlds/processes/children.js';
import { GUEST_DEVICE, ipInside, startGuest } from '../../worlds/processes/guest-process.js';
import type { DomainProgram } from '../../worlds/processes/process-world.js';
import { until } from '../../worlds/processes/until.js';
import { promised } from '../../worlds/processes/wait.js';
import { Pings } from './pings.js';

export interface GuestPlan {
  readonly domid: number;
  readonly mac: string;
  readonly address: string;
  readonly bridge: BridgePlan;
}

export interface GuestParts {
  readonly plan: GuestPlan;
  readonly toolstack: () => Store;
  readonly program: DomainProgram;
  /** Options of the guests' program, in addition to those of every guest. */
  readonly options: readonly string[];
}

const QUEUES = 2;
const CONNECT_MS = 15_000;

/** A guest: a process that is a netfront, in a network namespace of its own, whose TCP/IP is Linux's. */
export class FaultGuest implements AsyncDisposable {
  readonly plan: GuestPlan;
  readonly violations: string[] = [];
  readonly #parts: GuestParts;
  #child: Child | undefined;
  #pings: Pings | undefined;

  constructor(parts: GuestParts) {
    this.#parts = parts;
    this.plan = parts.plan;
  }

  get vif(): string {
    return `vif${this.plan.domid}.0`;
  }

  get frontendPath(): string {
    return `/local/domain/${this.plan.domid}/device/vif/0`;
  }

  get backendPath(): string {
    return `/local/domain/0/backend/vif/${this.plan.domid}/0`;
  }

  /** Pings from the host to the guest, all the time. */
  get pings(): Pings {
    if (this.#pings === undefined) throw new Error(`${this.vif} is not pinged yet`);
    return this.#pings;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Acts as the toolstack does for a guest with a vif. */
  async createVif(more: { bridge?: string; script?: string } = {}): Promise<void> {
    const { domid, mac, bridge } = this.plan;
    await createVif(this.#parts.toolstack(), { domid, handle: 0, mac, bridge: bridge.name, ...more });
  }

  /** Acts as the toolstack does to remove the vif: asks vifd to close, and waits for that. */
  async removeVif(): Promise<void> {
    await removeVif(this.#parts.toolstack(), systemClock, { domid: this.plan.domid, handle: 0 });
  }

  /** Ends the guest, and removes its vif. */
  async unplug(): Promise<void> {
    await this.kill();
    await this.removeVif();
  }

  /** Starts a guest with a new vif. @returns when the toolstack had made the vif. */
  async plug(more: { bridge?: string; script?: string } = {}): Promise<number> {
    await this.createVif(more);
    const madeMs = Date.now();
    await this.boot();
    return madeMs;
  }

  /** Kills the guest and boots it again. @returns when it reported that it is connected. */
  async reconnect(): Promise<number> {
    await this.kill();
    await this.boot();
    return this.published();
  }

  /** Waits until the guest's rings are in the store. @returns when that was. */
  async published(): Promise<number> {
    const { toolstack } = this.#parts;
    await until(async () => (await toolstack().read(`${this.frontendPath}/state`)) === '4', CONNECT_MS);
    return Date.now();
  }

  /** Writes into the guest's own nodes, with the guest's rights. */
  async write(key: string, value: string): Promise<void> {
    await this.#parts.toolstack().write(`${this.frontendPath}/${key}`, value);
  }

  /** Starts the guest. Resolves when it waits for vifd, and its interface is set up. */
  async boot(options: readonly string[] = this.#parts.options): Promise<void> {
    const { domid, mac } = this.plan;
    await this.renew();
    const ready = promised();
    this.#child = await startGuest({
      ...{ name: this.vif, domid, mac, program: this.#parts.program },
      options: ['--queues', `${QUEUES}`, ...options],
      onEvent: ({ event }, line) => {
        if (event === 'ready') ready.keep();
        if (event === 'violation') this.violations.push(`${this.vif}: ${line}`);
      },
    });
    await Promise.race([ready.done, this.#child.ended]);
    await this.#configure(this.#child);
  }

  /** Resolves when the guest replies to pings. @throws Error after `withinMs`. */
  async served(withinMs = CONNECT_MS): Promise<void> {
    const { address } = this.plan;
    await this.knownToHost();
    this.#pings ??= await Pings.start(address);
    if ((await this.#pings.servedAfter(Date.now(), withinMs)) === undefined)
      throw new Error(`${this.vif} is not served after ${withinMs} ms; ${this.#child?.lastWords ?? ''}`);
  }

  /** The host has its address for as long as it has the bridge. */
  async knownToHost(): Promise<void> {
    const { address, bridge, mac } = this.plan;
    await knowNeighbour(bridge.name, address, mac);
  }

  /** SIGSTOP: the guest neither responds nor takes frames. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /**
   * Sets the device to the state in which the toolstack leaves it for the next guest. A guest that was killed could not write that it is
   * gone.
   */
  async renew(): Promise<void> {
    await this.write('state', '1');
  }

  async kill(): Promise<void> {
    await this.#child?.end('SIGKILL');
  }

  /** As an orderly shutdown of the guest. */
  async shutdown(): Promise<void> {
    await this.#child?.end('SIGTERM');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pings?.[Symbol.asyncDispose]();
    this.#pings = undefined;
    await this.kill();
  }

  /** The guest's interface, in its namespace. */
  async #configure(child: Child): Promise<void> {
    const { address, bridge } = this.plan;
    const known = [bridge.address, 'lladdr', bridge.mac, 'dev', GUEST_DEVICE, 'nud', 'permanent'];
    await ipInside(child, 'address', 'add', `${address}/24`, 'dev', GUEST_DEVICE);
    await ipInside(child, 'link', 'set', GUEST_DEVICE, 'up');
    await ipInside(child, 'neighbour', 'replace', ...known);
  }
}
