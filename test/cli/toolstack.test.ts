/**
 * `vifd run` and the operations of toolstacks on its vifs, in dom0 and in a driver domain: real taps, and a store with xenstored's rights.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import {
  createVif,
  type RemoveOptions,
  removeVif,
  type VifOptions,
} from '../../lib/testing/netfront/toolstack.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import type { Permission, Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

const CLI = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const missing = [CLI, `${LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));
const GUEST = 7;
/** How long a test may take on a busy machine. */
const PATIENT = { timeout: 60_000, interval: 20 };
const TEST_MS = 240_000;

class Host {
  readonly backendDomid: number;
  readonly directory = mkdtempSync('/dev/shm/vifd-toolstack-');
  readonly node: string;
  readonly frontend = frontendVifPath(GUEST, 0);
  readonly #processes: ChildProcess[] = [];
  #endedGuest = false;
  readonly errors: string[] = [];
  store!: Store;

  constructor(backendDomid: number) {
    this.backendDomid = backendDomid;
    this.node = backendVifPath(backendDomid, GUEST, 0);
  }

  async open(): Promise<this> {
    const domids = new Set([0, this.backendDomid, GUEST]);
    const sockets = [...domids].map((domid) => `${this.#socket(domid)}=${domid}`);
    this.#start(['dist/testing/xenstored/serve.js', ...sockets], 0);
    await vi.waitFor(() => expect(existsSync(this.#socket(GUEST))).toBe(true), PATIENT);
    this.store = await openStore({ path: this.#socket(0) });
    return this;
  }

  /** Writes what libxl writes for a driver domain and for a guest with one vif. */
  async addVif(options: Partial<VifOptions> = {}): Promise<void> {
    const { backendDomid } = this;
    const own = `/local/domain/${backendDomid}`;
    await this.#folder(own, { domid: 0, access: 'none' }, { domid: backendDomid, access: 'read' });
    await this.#folder(`${own}/backend`, { domid: backendDomid, access: 'none' });
    for (const end of ['', '/device'])
      await this.#folder(
        `/local/domain/${GUEST}${end}`,
        { domid: 0, access: 'none' },
        { domid: GUEST, access: 'read' },
      );
    await createVif(this.store, {
      ...{ domid: GUEST, handle: 0, backendDomid, mac: '00:16:3e:00:00:07' },
      ...options,
    });
  }

  run(): ChildProcess {
    const options = ['--json', '--bridge', 'br0', '--journal', join(this.directory, 'journal')];
    const vifd = this.#start([CLI, 'run', ...options], this.backendDomid);
    createInterface(vifd.stdout!).on('line', (line) => {
      const { event, message, code } = JSON.parse(line);
      const isOfEndedGuest =
        this.#endedGuest && code === 'ERR_PROTOCOL' && /bad grant reference/.test(message);
      // vifd reports the first in a user namespace, and the second on a machine that is so busy that the store has no turn for half a second.
      const isOfMachine = ['ERR_TAP_LIMIT', 'ERR_STORE_GONE'].includes(code);
      if (event === 'error' && !isOfMachine && !isOfEndedGuest) this.errors.push(message);
    });
    return vifd;
  }

  guest(): ChildProcess {
    const options = [
      '--domid',
      `${GUEST}`,
      '--backend',
      `${this.backendDomid}`,
      '--store',
      this.#socket(GUEST),
    ];
    return this.#start(['dist/testing/netfront/guest.js', ...options, '--send', '60,1514'], GUEST);
  }

  /** Ends a guest's process. Its grants end with it, and vifd may find requests in the ring whose grants are gone. */
  async endGuest(guest: ChildProcess): Promise<void> {
    this.#endedGuest = true;
    await this.end(guest);
  }

  async end(program: ChildProcess): Promise<void> {
    const exited = new Promise((resolve) => program.once('exit', resolve));
    program.kill('SIGKILL');
    await exited;
  }

  async expectState(wanted: string | undefined): Promise<void> {
    await vi.waitFor(async () => expect(await this.store.read(`${this.node}/state`)).toBe(wanted), PATIENT);
  }

  remove(options: RemoveOptions): Promise<boolean> {
    const vif = { domid: GUEST, handle: 0, backendDomid: this.backendDomid };
    return removeVif(this.store, systemClock, vif, options);
  }

  get left(): string[] {
    const taps =
      execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).match(/(?<=: )vif\d+\.\d+(?=:)/g) ?? [];
    const journals = readdirSync(join(this.directory, 'journal')).filter((name) => /^vif\d/.test(name));
    return [...taps, ...journals];
  }

  async expectNothingLeft(): Promise<void> {
    await vi.waitFor(() => expect(this.left).toEqual([]), PATIENT);
    expect(this.errors.join('\n')).toBe('');
  }

  async close(): Promise<void> {
    await this.store[Symbol.asyncDispose]();
    for (const program of this.#processes)
      if (program.exitCode === null && program.signalCode === null) await this.end(program);
    await killWorkers(this.directory);
    rmSync(this.directory, { recursive: true });
  }

  #socket(domid: number): string {
    return join(this.directory, `store.${domid}`);
  }

  async #folder(path: string, ...permissions: Permission[]): Promise<void> {
    if ((await this.store.read(path)) !== undefined) return;
    await this.store.transaction(async (view) => {
      await view.mkdir(path);
      await view.setPermissions(path, permissions);
    });
  }

  #start(args: readonly string[], domid: number): ChildProcess {
    const env = {
      XENSIM: this.directory,
      XENSIM_DOMID: `${domid}`,
      XENSTORED_PATH: this.#socket(domid),
      VIFD_XEN_LIBRARIES: LIBRARIES,
    };
    const program = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    program.stdout?.resume();
    this.#processes.push(program);
    return program;
  }
}

function tests(): void {
  let host: Host;
  beforeAll(() => {
    for (const which of ['default', 'all'])
      writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
    execFileSync('ip', ['link', 'add', 'br0', 'up', 'type', 'bridge', 'mcast_snooping', '0']);
  });
  afterEach(() => host.close());

  describe.each([
    ['dom0', 0],
    ['a driver domain', 5],
  ])('in %s', (_where, domid) => {
    it('ends a vif when any folder above its node is removed, and serves the next one', {
      timeout: TEST_MS,
    }, async () => {
      host = await new Host(domid).open();
      host.run();
      for (const end of ['/7', '', '/..', '/../..']) {
        await host.addVif();
        await host.expectState('2');
        const guest = host.guest();
        await host.expectState('4');
        await host.end(guest);
        const root = `/local/domain/${domid}/backend/vif`.split('/');
        const path = end === '/7' ? [...root, '7'] : root.slice(0, root.length - end.split('..').length + 1);
        await host.store.rm(path.join('/'));
        await host.expectNothingLeft();
      }
    });

    it('closes vifs of destroyed guests, though it is killed meanwhile, and leaves nothing', {
      timeout: TEST_MS,
    }, async () => {
      host = await new Host(domid).open();
      let vifd = host.run();
      for (const killed of [false, true, true]) {
        await host.addVif();
        await host.expectState('2');
        const guest = host.guest();
        await host.expectState('4');
        await host.end(guest);
        if (killed) {
          await host.end(vifd);
          await killWorkers(host.directory);
        }
        const closed = await host.remove({ force: true, timeoutMs: 1000 });
        // In a driver domain its own `xl devd` removes the node in time, and there is none here.
        expect(closed).toBe(!killed && domid === 0);
        expect(await host.store.read(host.frontend)).toBeUndefined();
        if (killed) vifd = host.run();
        await host.expectNothingLeft();
      }
    });

    it('becomes Connected when the hotplug script is done, or its status is absent', {
      timeout: TEST_MS,
    }, async () => {
      host = await new Host(domid).open();
      host.run();
      await host.addVif({ script: '/etc/xen/scripts/vif-bridge' });
      await host.expectState('2');
      const first = host.guest();
      await vi.waitFor(
        async () => expect(await host.store.read(`${host.frontend}/state`)).toBe('4'),
        PATIENT,
      );
      await new Promise((resolve) => setTimeout(resolve, 500));
      await host.expectState('2');
      await host.store.write(`${host.node}/hotplug-status`, 'connected');
      await host.expectState('4');
      // As the netbacks of Linux 5.13 to 5.16 and of XenServer do; then the guest's driver is loaded again.
      await host.store.rm(`${host.node}/hotplug-status`);
      await host.endGuest(first);
      await host.store.write(`${host.frontend}/state`, '1');
      await host.expectState('2');
      host.guest();
      await host.expectState('4');
      expect(host.errors).toEqual([]);
      await host.store.rm(`/local/domain/${domid}/backend/vif`);
      await host.expectNothingLeft();
    });
  });
}

describe.skipIf(missing !== undefined)('vifd run and toolstacks', () => {
  inOwnNetwork(import.meta.url, tests);
});
