import { createVif } from '../../lib/netfront/index.js';
import { Child, command, enter, GUARD, parseEvent } from '../../lib/demo/children.js';
import { GUEST_PROGRAM, XENSIM_LIBRARIES } from '../../lib/demo/programs.js';
import type { Store } from '../../lib/xen/types.js';
import { type BridgePlan, knowNeighbour } from './host.js';
import { Pings } from './pings.js';
import { until } from './until.js';

export interface GuestPlan {
  readonly domid: number;
  readonly mac: string;
  readonly address: string;
  readonly bridge: BridgePlan;
  /** The guest's own connection to the store. */
  readonly storeSocket: string;
}

export interface GuestParts {
  readonly plan: GuestPlan;
  readonly toolstack: () => Store;
  readonly env: NodeJS.ProcessEnv;
}

const QUEUES = 2;
const CONNECT_MS = 15_000;

/** A guest: a process that is a netfront, in a network namespace of its own, whose TCP/IP is Linux's. */
export class FaultGuest implements AsyncDisposable {
  readonly plan: GuestPlan;
  readonly violations: string[] = [];
  readonly #parts: GuestParts;
  #child: Child | undefined;
  #connected = 0;
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

  /** Pings from the host to it, all the time. */
  get pings(): Pings {
    if (this.#pings === undefined) throw new Error(`${this.vif} is not pinged yet`);
    return this.#pings;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What the toolstack does for a guest with a vif. */
  async createVif(more: { bridge?: string; script?: string } = {}): Promise<void> {
    const { domid, mac, bridge } = this.plan;
    await createVif(this.#parts.toolstack(), { domid, handle: 0, mac, bridge: bridge.name, ...more });
  }

  /** Starts the guest. It connects when vifd offers it something. */
  async boot(options: readonly string[] = []): Promise<void> {
    const { domid, mac, storeSocket } = this.plan;
    const before = this.#connected;
    this.#child = await Child.start({
      name: this.vif,
      command: [
        ...['unshare', '--net', '--', ...GUARD, process.execPath, GUEST_PROGRAM],
        ...['--domid', String(domid), '--tap', 'eth0', '--mac', mac, '--queues', String(QUEUES)],
        ...['--store', storeSocket, '--libraries', XENSIM_LIBRARIES, ...options],
      ],
      env: { ...this.#parts.env, XENSIM_DOMID: String(domid) },
      onLine: (line) => this.#hear(line),
    });
    const child = this.#child;
    void until(() => this.#connected > before || !child.running, CONNECT_MS).then(() => this.#configure(child));
  }

  /** Resolves when pings come back. @throws Error after `withinMs`. */
  async served(withinMs = CONNECT_MS): Promise<void> {
    const { address, bridge, mac } = this.plan;
    await knowNeighbour(bridge.name, address, mac);
    this.#pings ??= await Pings.start(address);
    if ((await this.#pings.servedAfter(Date.now(), withinMs)) === undefined)
      throw new Error(`${this.vif} is not served after ${withinMs} ms; ${this.#child?.lastWords ?? ''}`);
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

  /** Its end of the wire, in its namespace. */
  async #configure(child: Child): Promise<void> {
    if (!child.running) return;
    const inside = [...enter(child.pid), 'ip'];
    const { address, bridge } = this.plan;
    const run = (...words: string[]) => command(...inside, ...words).catch(() => undefined);
    await run('address', 'add', `${address}/24`, 'dev', 'eth0');
    await run('link', 'set', 'eth0', 'up');
    await run('neighbour', 'replace', bridge.address, 'lladdr', bridge.mac, 'dev', 'eth0', 'nud', 'permanent');
  }

  #hear(line: string): void {
    const event = parseEvent(line);
    if (event?.event === 'connected') this.#connected += 1;
    if (event?.event === 'violation') this.violations.push(`${this.vif}: ${line}`);
  }
}
