import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, it } from 'vitest';
import { type LinkSettings, settingsOf } from '../../lib/host/links.js';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import type { VifDetails } from '../../lib/netback/show.js';
import { createVif } from '../../lib/testing/netfront/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { GUEST_PROGRAM, XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ProcessWorld } from '../../worlds/processes/process-world.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

export const CLI = 'dist/vifd.cjs';
const missing = [CLI, `${XENSIM_LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));
export const NODE = '/local/domain/0/backend/vif/7/0';
export const GUEST_MAC = '00:16:3e:00:00:07';
/** How long a report may take: vifd reports within a second, but the machine may be busy. */
export const SOON = { timeout: 4000 };
/** How long a program may take to start on a busy machine. */
export const START_MS = 15_000;

type Line = Record<string, unknown> & { readonly event: string };

/** A program that prints one JSON object a line. */
export class Program {
  readonly process: ChildProcess;
  readonly lines: Line[] = [];
  readonly exited: Promise<unknown>;

  constructor(command: readonly string[], env: NodeJS.ProcessEnv) {
    const [file = '', ...args] = command;
    this.process = spawn(file, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.exited = new Promise((resolve) => this.process.once('exit', resolve));
    createInterface(this.process.stdout!).on('line', (line) =>
      this.lines.push(line.startsWith('{') ? JSON.parse(line) : { event: line.split(' ')[0] }),
    );
  }

  /** Messages of these events, in order, without ERR_TAP_LIMIT, which vifd reports in a user namespace: `lines` has that. */
  messages(event: string): unknown[] {
    const lines = this.lines.filter((line) => line.event === event && line.code !== 'ERR_TAP_LIMIT');
    return lines.map(({ message }) => message);
  }

  async until(event: string, count = 1): Promise<Line> {
    for (const began = performance.now(); ; await sleep(5)) {
      const found = this.lines.filter((line) => line.event === event);
      if (found.length >= count) return found.at(-1) as Line;
      if (performance.now() - began > START_MS)
        throw new Error(`no ${event} (${count}) in time: ${JSON.stringify(this.lines)}`);
    }
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.process.kill(signal);
    await this.exited;
  }
}
/** A `vifd run`: a SIGKILL of it ends its workers, too. */
class Vifd extends Program {
  readonly #folder: string;

  constructor(command: readonly string[], env: NodeJS.ProcessEnv, folder: string) {
    super(command, env);
    this.#folder = folder;
  }

  override async end(signal: NodeJS.Signals): Promise<void> {
    await super.end(signal);
    if (signal === 'SIGKILL') await killWorkers(this.#folder);
  }
}

export type LinksWorld = ReturnType<typeof linksWorld>;

/** A bridge, a store, and in each test a `vifd run` and a guest with Linux's TCP/IP, all in this network namespace. */
function linksWorld() {
  let world: ProcessWorld;
  let env: NodeJS.ProcessEnv;
  let guest: Program | undefined;
  const daemons: Program[] = [];
  const sender = createSocket('udp4');
  const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
  const bridged = (bridge: string) => {
    ip('link', 'add', bridge, 'address', '02:00:00:00:00:01', 'type', 'bridge', 'mcast_snooping', '0');
    ip('link', 'set', bridge, 'up');
  };

  beforeAll(async () => {
    world = new ProcessWorld('test');
    for (const which of ['default', 'all'])
      writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
    // As the shipped unit makes it (ProtectKernelTunables).
    execFileSync('mount', ['-o', 'remount,bind,ro', '/sys']);
    await world.startStore([0, 7]);
    env = {
      XENSIM: world.directory,
      XENSTORED_PATH: world.socket(0),
      VIFD_XEN_LIBRARIES: XENSIM_LIBRARIES,
    };
  });
  afterAll(async () => {
    sender.close();
    await world[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    bridged('br0');
    ip('address', 'add', '10.7.0.1/24', 'dev', 'br0');
    ip('neighbour', 'add', '10.7.0.2', 'lladdr', GUEST_MAC, 'dev', 'br0', 'nud', 'permanent');
  });
  afterEach(async () => {
    await guest?.end('SIGKILL');
    guest = undefined;
    for (const daemon of daemons.splice(0)) await daemon.end('SIGKILL');
    await world.toolstack.rm('/local/domain/0/backend/vif');
    rmSync(join(world.directory, 'j'), { recursive: true, force: true });
    for (const { index, name } of interfaces().list()) if (name !== 'lo') interfaces().remove(index);
  });

  function vifd(args: readonly string[] = [], folder = 'j', prefix: readonly string[] = []): Program {
    const runtime = join(world.directory, folder);
    const run = [process.execPath, CLI, 'run', '--json', '--journal', runtime, ...args];
    const daemon = new Vifd([...prefix, ...run], env, runtime);
    daemons.push(daemon);
    return daemon;
  }
  /** A guest whose own interface is `eth0`. */
  async function connect(more: readonly string[] = []): Promise<Program> {
    const front = ['--domid', '7', '--store', world.socket(7), '--tap', 'eth0', ...more];
    guest = new Program([process.execPath, GUEST_PROGRAM, ...front], env);
    await guest.until('connected');
    return guest;
  }
  const newVif = (more: Partial<Parameters<typeof createVif>[1]> = {}) =>
    createVif(world.toolstack, { domid: 7, handle: 0, mac: GUEST_MAC, ...more });
  const send = async (frames = 1): Promise<void> => {
    for (let i = 0; i < frames; i++) await new Promise((done) => sender.send('x', 9, '10.7.0.2', done));
  };
  /** How many frames the guest's end has passed to its network. */
  const came = () => Number(readFileSync('/sys/class/net/eth0/statistics/rx_packets', 'utf8'));
  /** Whether frames of the host reach the guest. */
  async function reaches(): Promise<boolean> {
    const before = came();
    for (let round = 0; round < 200 && came() === before; round++) {
      await send();
      await sleep(10);
    }
    return came() > before;
  }
  /** Returns what `vifd show` prints; undefined if no vifd responds. */
  const shown = (folder = 'j'): VifDetails | undefined => {
    const args = [CLI, 'show', '--json', '--journal', join(world.directory, folder)];
    const { stdout } = spawnSync(process.execPath, args, {
      env: { ...process.env, ...env },
      encoding: 'utf8',
    });
    return stdout === '' ? undefined : JSON.parse(stdout).vifs?.[0];
  };
  const reason = (folder = 'j'): string | undefined => shown(folder)?.reason;
  const link = (name: string): LinkSettings | undefined => {
    const found = interfaces().find(name);
    return found && settingsOf(interfaces(), found);
  };

  return {
    ...{ vifd, connect, newVif, send, came, reaches, shown, reason, link, ip, bridged },
    get store(): Store {
      return world.toolstack;
    },
    get directory() {
      return world.directory;
    },
    get env() {
      return env;
    },
  };
}

/**
 * Runs the tests that `register` makes with real taps.
 * @param url import.meta.url of the test file.
 */
export function withLinks(url: string, name: string, register: (world: LinksWorld) => void): void {
  if (missing !== undefined) it.skip(`vifd run needs ${missing}: npm run build`, () => {});
  else inOwnNetwork(url, () => describe(name, () => register(linksWorld())));
}
