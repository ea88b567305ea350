import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { type BridgePlan, ip, makeBridge } from '../../worlds/processes/bridge.js';
import { Child, command, GUARD } from '../../worlds/processes/children.js';
import { Daemon, type LogLine } from '../../worlds/processes/daemon.js';
import { Datagrams } from '../../worlds/processes/datagrams.js';
import { ProcessWorld } from '../../worlds/processes/process-world.js';
import { isWorker } from '../../worlds/processes/supervised.js';
import { until } from '../../worlds/processes/until.js';
import { promised } from '../../worlds/processes/wait.js';
import { FaultGuest } from './fault-guest.js';
import { Injector } from './injector.js';
import { difference, type Holdings, holdings } from './leftovers.js';
import type { StoredNode } from './store-messages.js';
import { type Tree, WHOLE } from './tree.js';
import { Xenstored } from './xenstored.js';

/** How vifd is started. Rows with the same setting share a vifd. */
export interface Setting {
  readonly name: string;
  /** Options of `vifd run`, in addition to those of every run. */
  readonly options?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** A program of the tests that embeds vifd, in place of `vifd run`: its path below `faults`. */
  readonly embedded?: string;
  /** Options of the guests' program. */
  readonly guest?: readonly string[];
}

/** Victim and neighbour have different bridges, so that a fault of one bridge does not harm the other guest. */
export const VICTIM_BRIDGE: BridgePlan = { name: 'br0', address: '10.77.0.1', mac: '02:77:00:00:00:01' };
export const NEIGHBOUR_BRIDGE: BridgePlan = { name: 'br1', address: '10.78.0.1', mac: '02:78:00:00:00:01' };
const MISBEHAVING_GUEST = fileURLToPath(new URL('misbehaving-guest.js', import.meta.url));
const RUNTIME_MB = 48;
const SETTLE_MS = 3000;
const QUIET_MS = 200;
const WATCHDOG_US = 600_000;

/** A host with vifd, a victim and a neighbour, all in the namespaces of this process. */
export class FaultWorld extends ProcessWorld {
  readonly runtime: string;
  readonly victim: FaultGuest;
  readonly neighbour: FaultGuest;
  readonly xenstored: Xenstored;
  readonly inject: Injector;
  /** All lines of all vifds of this world, oldest first. */
  readonly lines: LogLine[] = [];
  /** Whether vifd has loaded what it loads only when it first needs it. */
  loaded = false;
  /** The times in which no vifd served because a row restarted it on purpose. */
  readonly restarts: { readonly fromMs: number; readonly toMs: number }[] = [];
  /** The nodes that a row has removed from the store, to write them again. */
  removed: readonly StoredNode[] = [];
  readonly #setting: Setting;
  readonly #tree: Tree;
  readonly #toolsSocket: string;
  #daemon: Daemon | undefined;
  #manager: Datagrams | undefined;

  /** @param tree the compiled vifd; dist's, unless a call was removed from it. */
  static async open(setting: Setting, tree: Tree = WHOLE): Promise<FaultWorld> {
    const world = new FaultWorld(setting, tree);
    try {
      await world.#start();
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(setting: Setting, tree: Tree) {
    super('faults');
    const { directory } = this;
    this.#setting = setting;
    this.#tree = tree;
    this.runtime = join(directory, 'run');
    this.#toolsSocket = join(directory, 'store-tools');
    const sockets = new Map([7, 8].map((domid) => [domid, this.socket(domid)]));
    this.xenstored = new Xenstored({
      vifdSocket: this.socket(0),
      toolsSocket: this.#toolsSocket,
      guests: sockets,
    });
    this.inject = new Injector(directory);
    const guest = (domid: number, bridge: BridgePlan) => {
      const mac = `00:16:3e:77:00:0${domid}`;
      const address = bridge.address.replace(/\d+$/, `${domid}`);
      const plan = { domid, mac, address, bridge };
      const toolstack = () => this.toolstack;
      return new FaultGuest({
        plan,
        toolstack,
        program: this.programIn(domid),
        options: setting.guest ?? [],
      });
    };
    this.victim = guest(7, VICTIM_BRIDGE);
    this.neighbour = guest(8, NEIGHBOUR_BRIDGE);
  }

  /** The service manager's descriptors. */
  get notifySocket(): string {
    return join(this.directory, 'notify');
  }

  /** The runtime directory, with lock, socket and journals: on a small file system of its own. */
  get journals(): string {
    return join(this.runtime, 'vifd');
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error('vifd was not started');
    return this.#daemon;
  }

  /** The processes of its workers, also those that an earlier vifd has started. */
  get workers(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => isWorker(pid, this.journals));
  }

  /** The worker that serves a guest. */
  async workerOf({ backendPath }: FaultGuest): Promise<number> {
    return Number(await this.toolstack.read(`${backendPath}/vifd/attached`));
  }

  /** The worker that waits for the death of another one. */
  async standby(): Promise<number> {
    const serving = new Set(await Promise.all(this.guests.map((guest) => this.workerOf(guest))));
    const standby = this.workers.find((pid) => !serving.has(pid));
    if (standby === undefined) throw new Error('there is no standby');
    return standby;
  }

  get guests(): readonly FaultGuest[] {
    return [this.victim, this.neighbour];
  }

  async startManager(): Promise<void> {
    rmSync(this.notifySocket, { force: true });
    this.#manager = await Datagrams.bind(this.notifySocket);
  }

  stopManager(): void {
    this.#manager?.[Symbol.dispose]();
    this.#manager = undefined;
    rmSync(this.notifySocket, { force: true });
  }

  /** Breaks the protocol as the victim, which must be killed before. Resolves when it is done. */
  async misbehave(mode: string): Promise<Child> {
    const done = promised();
    const { domid } = this.victim.plan;
    await this.victim.renew();
    const child = await Child.start({
      name: `a guest that does ${mode}`,
      command: [...GUARD, process.execPath, MISBEHAVING_GUEST, mode],
      env: {
        ...this.environment(domid),
        XENSTORED_PATH: this.socket(domid),
        VIFD_XEN_LIBRARIES: XENSIM_LIBRARIES,
      },
      onLine: (line) => line === 'done' && done.keep(),
    });
    const ended = child.ended.then((how) => {
      throw new Error(`the guest that does ${mode} ended (${how}): ${child.lastWords}`);
    });
    await Promise.race([done.done, ended]);
    ended.catch(() => undefined);
    return child;
  }

  async startDaemon(more: { env?: NodeJS.ProcessEnv; wrapper?: readonly string[] } = {}): Promise<Daemon> {
    this.loaded = false;
    this.#daemon = await this.spawnDaemon(this.journals, more);
    return this.#daemon;
  }

  /** Starts another vifd in this world; the world watches only `daemon`. */
  spawnDaemon(
    journals: string,
    more: { env?: NodeJS.ProcessEnv; wrapper?: readonly string[] } = {},
  ): Promise<Daemon> {
    const { embedded, options = [] } = this.#setting;
    return Daemon.start({
      program: [
        ...this.#tree.node,
        ...(embedded === undefined ? [this.#tree.vifd, 'run'] : [join(this.#tree.faults, embedded)]),
        ...(options.includes('--no-journal') ? [] : ['--journal', journals]),
        ...['--store', this.socket(0), '--libraries', this.inject.libraries],
        ...options,
      ],
      env: {
        ...this.environment(0),
        ...this.inject.env,
        // The unit has Type=notify and a watchdog.
        ...this.#tree.env,
        ...this.#setting.env,
        ...{ NOTIFY_SOCKET: this.notifySocket, WATCHDOG_USEC: String(WATCHDOG_US) },
        ...more.env,
      },
      onLine: (line) => this.lines.push(line),
      ...(more.wrapper === undefined ? {} : { wrapper: more.wrapper }),
    });
  }

  /**
   * Restarts vifd as `systemctl restart` does. An operator does that, so what it costs the guests is no harm of a fault.
   * @returns when the new process was ready: vifd must have logged what it found at its start by then, or soon after.
   */
  async restartDaemon(): Promise<number> {
    const fromMs = Date.now();
    await this.#daemon?.stop();
    await this.startDaemon();
    await this.daemon.ready();
    const readyMs = Date.now();
    await this.neighbour.pings.servedAfter(Date.now(), SETTLE_MS);
    this.restarts.push({ fromMs, toMs: Date.now() });
    return readyMs;
  }

  /** Makes the victim's bridge again, as an administrator does. */
  async makeVictimBridge(): Promise<void> {
    await makeBridge(VICTIM_BRIDGE);
    await this.victim.knownToHost();
  }

  async holdings(): Promise<Holdings> {
    return holdings([this.daemon.pid, ...this.workers], this.journals, await this.xenstored.state());
  }

  /** @returns the differences from `before` once everything has settled. */
  async leftSince(before: Holdings): Promise<string[]> {
    let left: string[] = [];
    await until(async () => {
      left = difference(before, await this.holdings());
      return left.length === 0;
    }, SETTLE_MS);
    return left;
  }

  /** Builds everything anew that a fault may have broken permanently. */
  async renew(): Promise<void> {
    await this.#stop();
    await this.#start();
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    await super[Symbol.asyncDispose]();
  }

  async #start(): Promise<void> {
    mkdirSync(this.runtime, { recursive: true });
    await command('mount', '-t', 'tmpfs', '-o', `size=${RUNTIME_MB}m`, 'tmpfs', this.runtime);
    for (const bridge of [VICTIM_BRIDGE, NEIGHBOUR_BRIDGE]) await makeBridge(bridge);
    await this.xenstored.start();
    await this.connectToolstack(this.#toolsSocket);
    for (const guest of this.guests) await guest.createVif();
    await this.startManager();
    await this.startDaemon();
    await this.daemon.ready();
    for (const guest of this.guests) await guest.boot();
    await Promise.all(this.guests.map((guest) => guest.served()));
    // vifd replies to queries from a second after its start on, which costs descriptors and a file.
    const { embedded, options = [] } = this.#setting;
    if (embedded === undefined && !options.includes('--no-journal'))
      await until(() => existsSync(join(this.journals, 'socket')), SETTLE_MS);
    await this.settled();
  }

  /** Resolves when nothing has changed for a while: after a row the same resources must exist. */
  async settled(): Promise<void> {
    let last = await this.holdings();
    await until(async () => {
      await sleep(QUIET_MS);
      const now = await this.holdings();
      const quiet = difference(last, now).length === 0;
      last = now;
      return quiet;
    }, SETTLE_MS);
  }

  async #stop(): Promise<void> {
    this.inject.none();
    await this.#daemon?.kill();
    this.#daemon = undefined;
    for (const pid of this.workers) process.kill(pid, 'SIGKILL');
    await until(() => this.workers.length === 0, SETTLE_MS);
    for (const guest of this.guests) await guest[Symbol.asyncDispose]();
    await this.disconnectToolstack();
    await this.xenstored[Symbol.asyncDispose]();
    for (const guest of this.guests) await ip('link', 'delete', guest.vif).catch(() => undefined);
    for (const { name } of [VICTIM_BRIDGE, NEIGHBOUR_BRIDGE]) {
      await ip('link', 'delete', `${name}-up`).catch(() => undefined);
      await ip('link', 'delete', name).catch(() => undefined);
    }
    this.stopManager();
    await command('umount', '-l', this.runtime).catch(() => undefined);
    for (const file of ['state', 'domain-0', 'domain-7', 'domain-8'])
      rmSync(join(this.directory, file), { force: true });
  }
}
