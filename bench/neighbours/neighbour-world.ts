import { fileURLToPath } from 'node:url';
import { backendVifRoot, frontendVifPath, XenbusState } from '../../lib/protocol/xenbus.js';
import { createVif, removeVif } from '../../lib/testing/netfront/index.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import type { Store } from '../../lib/xen/seam.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ip, knowNeighbour, makeBridge } from '../../worlds/processes/bridge.js';
import { command } from '../../worlds/processes/children.js';
import { Daemon } from '../../worlds/processes/daemon.js';
import { ownMounts, ProcessWorld } from '../../worlds/processes/process-world.js';
import { Conversation } from './conversation.js';
import type { PingOrder, RoundTrips } from './messages.js';
import {
  type Arm,
  ATTACKERS,
  addressOf,
  BRIDGE,
  FLOODERS,
  type GuestPlan,
  macOf,
  QUEUES,
  SINK_MAC,
  VICTIM,
} from './plan.js';

/** An attacker that was killed does not close its vif: the toolstack waits this long, and removes the vif. */
const REMOVE_TIMEOUT_MS = 1000;
/** Pings until V8 has compiled most of what a ping runs, in all four processes. */
const WARM_UP = { count: 1000, everyMs: 1 };
const BACKENDS = [0, 1];
const GUESTS = [VICTIM, ...Object.values(ATTACKERS), ...FLOODERS];

export interface WorldOptions {
  /** Options of both vifds besides those that each has. */
  readonly options?: readonly string[];
  /** vifd.cjs of another checkout. Default: this one's. */
  readonly vifd?: string | undefined;
}

/** A host, each part of it a process: xenstored, two vifds, a victim and a pinger, in the namespaces that we are in. */
export class NeighbourWorld extends ProcessWorld {
  readonly #options: WorldOptions;
  readonly #daemons: Daemon[] = [];
  #victim!: Conversation;
  #pinger!: Conversation;

  static async open(options: WorldOptions = {}): Promise<NeighbourWorld> {
    await ownMounts();
    const world = new NeighbourWorld(options);
    try {
      await world.#start();
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(options: WorldOptions) {
    super('neighbours');
    this.#options = options;
  }

  /** The vifd that serves the victim. */
  get daemon(): Daemon {
    return this.#daemons[0];
  }

  ping(order: PingOrder): Promise<RoundTrips> {
    if (!this.#victim.running) throw new Error('the victim has ended: its backend broke the protocol');
    return this.#pinger.ask(order);
  }

  /** Starts an attacker with a new vif. Resolves when it is connected, and attacks. */
  async attack(mode: string, arm: Arm): Promise<Conversation> {
    const plan = ATTACKERS[arm];
    await this.#createVif(plan);
    return this.#guest('attacker.js', plan, mode);
  }

  /** Ends the guest that uses the attacker's vif, and removes the vif. */
  async endAttack(guest: Conversation, arm: Arm): Promise<void> {
    await guest[Symbol.asyncDispose]();
    await this.#removeVif(ATTACKERS[arm]);
  }

  /** Starts flooders with so many queues each. Resolves when they are connected, and flood. */
  async flood(queues: readonly number[]): Promise<Conversation> {
    const flooders = queues.map((count, i) => ({ ...FLOODERS[i], count }));
    for (const plan of flooders) await this.#createVif(plan);
    const guests = flooders.map(
      ({ domid, backendDomid, count }) => `${domid}=${count}=${this.socket(domid)}=${backendDomid}`,
    );
    return this.#program('the flooders', ['flooders.js', XENSIM_LIBRARIES, ...guests], this.environment(0));
  }

  async endFlood(flooders: Conversation): Promise<void> {
    await flooders[Symbol.asyncDispose]();
    for (const { domid, backendDomid } of FLOODERS) await this.#removeVif({ domid, backendDomid });
  }

  /** Ends the attacker and starts an ordinary guest with its vif. Resolves when that guest is connected. */
  async succeed(attacker: Conversation, arm: Arm): Promise<Conversation> {
    await attacker[Symbol.asyncDispose]();
    const plan = ATTACKERS[arm];
    // A guest that was killed has not written Closed: the toolstack sets its end up for the next guest.
    await this.toolstack.write(`${frontendVifPath(plan.domid, 0)}/state`, `${XenbusState.Initialising}`);
    return this.#guest('victim.js', plan);
  }

  async #start(): Promise<void> {
    await ip('link', 'set', 'lo', 'up');
    await makeBridge(BRIDGE);
    const sink = SINK_MAC.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    await command('bridge', 'fdb', 'add', sink, 'dev', `${BRIDGE.name}-up`, 'master', 'static');
    for (const { domid } of GUESTS) await knowNeighbour(BRIDGE.name, addressOf(domid), macOf(domid));
    await this.startStore([...BACKENDS, ...GUESTS.map(({ domid }) => domid)]);
    for (const domid of BACKENDS) await this.#startDaemon(domid);
    await this.#createVif(VICTIM);
    this.#victim = await this.#guest('victim.js', VICTIM);
    this.#pinger = await this.#program('the pinger', ['pinger.js'], {});
    await this.ping({ address: addressOf(VICTIM.domid), ...WARM_UP });
  }

  async #startDaemon(domid: number): Promise<void> {
    await letServe(this.toolstack, domid);
    const { vifd, options = [] } = this.#options;
    const all = ['--bridge', BRIDGE.name, '--queues', `${QUEUES}`, ...options];
    const daemon = await Daemon.start({
      program: this.vifdRun(all, domid, vifd),
      env: this.environment(domid),
      onLine: () => undefined,
    });
    this.onEnd(() => daemon.stop());
    this.#daemons.push(daemon);
    await daemon.ready();
  }

  async #createVif({ domid, backendDomid }: GuestPlan): Promise<void> {
    await createVif(this.toolstack, {
      domid,
      handle: 0,
      backendDomid,
      mac: macOf(domid),
      bridge: BRIDGE.name,
    });
  }

  async #removeVif(plan: GuestPlan): Promise<void> {
    await removeVif(this.toolstack, systemClock, { handle: 0, ...plan }, { timeoutMs: REMOVE_TIMEOUT_MS });
  }

  #guest(program: string, { domid, backendDomid }: GuestPlan, ...args: string[]): Promise<Conversation> {
    const whose = [`${domid}`, `${backendDomid}`, this.socket(domid), XENSIM_LIBRARIES];
    return this.#program(`vif${domid}.0's guest`, [program, ...whose, ...args], this.environment(domid));
  }

  async #program(name: string, [file, ...args]: string[], env: NodeJS.ProcessEnv): Promise<Conversation> {
    const path = fileURLToPath(new URL(file, import.meta.url));
    const conversation = await Conversation.start({ name, args: [path, ...args], env });
    this.onEnd(() => conversation[Symbol.asyncDispose]());
    return conversation;
  }
}

/** Gives a domain the rights in the store that a backend needs. */
export async function letServe(toolstack: Store, domid: number): Promise<void> {
  // A driver domain may write below its own node, as `xl devd` needs it.
  const root = backendVifRoot(domid);
  for (const path of [`/local/domain/${domid}`, root.replace(/\/vif$/, ''), root]) {
    await toolstack.mkdir(path);
    await toolstack.setPermissions(path, [
      { domid, access: 'none' },
      { domid: 0, access: 'read' },
    ]);
  }
}
