/** `vifd run` in a driver domain: an unprivileged one, by xenstored's rights and quotas. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import { createVif } from '../../lib/testing/netfront/index.js';
import { Netfront } from '../../lib/testing/netfront/netfront.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Store, Xen } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

const CLI = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const missing = [CLI, `${LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));
const BACKEND = 1;
const FIRST_GUEST = 7;
/** Each guest has two vifs. */
const HANDLES = 2;
const PATIENT_MS = 150_000;

interface Line extends Record<string, unknown> {
  readonly event: string;
}

class Program {
  readonly process: ChildProcess;
  readonly lines: Line[] = [];
  readonly exited: Promise<number | string>;

  constructor(args: readonly string[], env: NodeJS.ProcessEnv) {
    this.process = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.exited = new Promise((resolve) =>
      this.process.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')),
    );
    createInterface(this.process.stdout!).on('line', (line) =>
      this.lines.push(line.startsWith('{') ? JSON.parse(line) : { event: line.split(' ')[0] }),
    );
  }

  of(event: string): Line[] {
    return this.lines.filter((line) => line.event === event);
  }

  async end(signal: NodeJS.Signals): Promise<number | string> {
    this.process.kill(signal);
    return this.exited;
  }
}

async function until(done: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const began = performance.now(); !(await done()); await sleep(20))
    if (performance.now() - began > 60_000) throw new Error(`not within a minute: ${what}`);
}

class DriverDomain {
  readonly directory = mkdtempSync('/dev/shm/vifd-driver-');
  readonly vifs: ReadonlyArray<{ domid: number; handle: number; node: string; frontend: string }>;
  readonly #guests = new Map<number, Xen>();
  readonly #programs: Program[] = [];
  store!: Store;

  constructor(count: number) {
    this.vifs = Array.from({ length: count }, (_, n) => {
      const [domid, handle] = [FIRST_GUEST + Math.floor(n / HANDLES), n % HANDLES];
      const node = backendVifPath(BACKEND, domid, handle);
      return { domid, handle, node, frontend: frontendVifPath(domid, handle) };
    });
  }

  get journals(): string[] {
    return readdirSync(join(this.directory, 'journal')).filter((name) => /^vif\d/.test(name));
  }

  get domids(): number[] {
    return [...new Set(this.vifs.map(({ domid }) => domid))];
  }

  /** Sets the store up as libxl does: only a guest and its backend may read the guest's nodes. */
  async open(...quotas: string[]): Promise<void> {
    const sockets = [0, BACKEND, ...this.domids].map((domid) => `${this.#socket(domid)}=${domid}`);
    const options = quotas.flatMap((quota) => ['--quota', quota]);
    const serve = this.#start(['dist/testing/xenstored/serve.js', ...options, ...sockets]);
    await until(() => serve.of('ready').length > 0, 'the store listens');
    this.store = await openStore({ path: this.#socket(0) });
    const folder = (path: string, domid: number, access: 'none' | 'read', owner = domid) =>
      this.store.transaction(async (view) => {
        await view.mkdir(path);
        const others = owner === domid ? [] : [{ domid, access } as const];
        await view.setPermissions(path, [{ domid: owner, access: 'none' }, ...others]);
      });
    for (const end of ['', '/backend', '/backend/vif'])
      await folder(`/local/domain/${BACKEND}${end}`, BACKEND, 'none');
    for (const domid of this.domids) {
      for (const end of ['', '/device', '/device/vif'])
        await folder(`/local/domain/${domid}${end}`, domid, 'read', 0);
      await folder(`/local/domain/${BACKEND}/backend/vif/${domid}`, BACKEND, 'none');
    }
    for (const { domid, handle } of this.vifs)
      await createVif(this.store, { domid, handle, backendDomid: BACKEND, mac: '00:16:3e:00:00:07' });
  }

  run(): Program {
    return this.#start([
      CLI,
      'run',
      '--json',
      '--bridge',
      'br0',
      '--journal',
      join(this.directory, 'journal'),
    ]);
  }

  async connectGuests(): Promise<void> {
    for (const domid of this.domids) {
      // Read when a handle is opened.
      process.env.XENSIM = this.directory;
      process.env.XENSIM_DOMID = `${domid}`;
      const storePath = this.#socket(domid);
      this.#guests.set(domid, await openXen({ libraries: LIBRARIES, domid, storePath }));
    }
    const fronts = this.vifs.map(async ({ domid, handle }) => {
      const xen = this.#guests.get(domid)!;
      const port = new TestPort();
      const front = await Netfront.connect({ xen, port, domid, handle, backendDomid: BACKEND });
      await front.connected({});
    });
    await Promise.all(fronts);
  }

  states(): Promise<(string | undefined)[]> {
    return Promise.all(this.vifs.map(({ node }) => this.store.read(`${node}/state`)));
  }

  /** libxl__initiate_device_generic_remove, forced, as every guest's end is. */
  async endGuests(): Promise<void> {
    for (const { frontend, node } of this.vifs)
      await this.store.transaction(async (view) => {
        await view.rm(frontend);
        await view.write(`${node}/online`, '0');
        await view.write(`${node}/state`, '5');
      });
  }

  async close(): Promise<void> {
    for (const xen of this.#guests.values()) await xen[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
    await Promise.all(this.#programs.map((program) => program.end('SIGKILL')));
    await killWorkers(this.directory);
    rmSync(this.directory, { recursive: true });
  }

  #socket(domid: number): string {
    return join(this.directory, `store.${domid}`);
  }

  #start(args: readonly string[]): Program {
    const program = new Program(args, {
      XENSIM: this.directory,
      XENSIM_DOMID: `${BACKEND}`,
      XENSTORED_PATH: this.#socket(BACKEND),
      VIFD_XEN_LIBRARIES: LIBRARIES,
    });
    this.#programs.push(program);
    return program;
  }
}

const errorsOf = (vifd: Program) =>
  vifd
    .of('error')
    .map(({ message }) => message)
    .join('\n');
const taps = () =>
  execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).match(/(?<=: )vif\d+\.\d+(?=:)/g) ?? [];

function tests(): void {
  let world: DriverDomain;
  beforeAll(() => {
    // Without frames of the host's own, one of which could come while a guest takes its buffers back: no IPv6, and no IGMP, by which a bridge that
    // snoops reports itself in the seconds after it is up.
    for (const which of ['default', 'all'])
      writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
    execFileSync('ip', ['link', 'add', 'br0', 'up', 'type', 'bridge', 'mcast_snooping', '0']);
  });
  afterEach(async () => {
    await world.close();
    for (const tap of taps()) execFileSync('ip', ['link', 'del', tap]);
  });

  it.each([1, 12, 60])(
    'serves %i vifs, attaches again after SIGKILL, and leaves nothing of destroyed guests behind',
    { timeout: PATIENT_MS },
    async (count) => {
      world = new DriverDomain(count);
      // 60 vifs have more nodes than the 1000 that an unprivileged domain may have: see the next test.
      await world.open(...(count > 40 ? ['entries=3000'] : []));
      const first = world.run();
      await until(async () => (await world.states()).every((state) => state === '2'), 'all are offered');
      await world.connectGuests();
      await until(() => first.of('attached').length === count, 'all are attached');
      expect(new Set(await world.states())).toEqual(new Set(['4']));
      expect(errorsOf(first)).toBe('');

      await first.end('SIGKILL');
      await killWorkers(world.directory);
      const next = world.run();
      await until(() => next.of('attached').length === count, 'all are attached again');
      expect(new Set(await world.states())).toEqual(new Set(['4']));

      await world.endGuests();
      await until(async () => (await world.states()).every((state) => state === '6'), 'all are closed');
      expect(taps()).toEqual([]);
      // The counters are the vif's, and stay while its node is there.
      expect(world.journals.filter((name) => !name.endsWith('.counters.journal'))).toEqual([]);
      await world.store.rm(`/local/domain/${BACKEND}/backend/vif`);
      await until(async () => world.journals.length === 0, 'all counters are removed');
      expect(errorsOf(next)).toBe('');
      expect(await next.end('SIGTERM')).toBe(0);
      expect(taps()).toEqual([]);
    },
  );

  it('reports each vif that the quota of nodes has no room for, and serves the others', {
    timeout: PATIENT_MS,
  }, async () => {
    world = new DriverDomain(60);
    await world.open();
    const vifd = world.run();
    const offered = async () => (await world.states()).filter((state) => state === '2').length;
    const reported = () => new Set(vifd.of('error').map(({ vif }) => vif)).size;
    await until(async () => (await offered()) + reported() >= 60, 'each is offered or reported');
    // A vif has 24 nodes, of which the toolstack has made 9 already, for each of the 60.
    expect(await offered()).toBeGreaterThan(15);
    for (const { message } of vifd.of('error')) expect(message).toMatch(/quota of nodes.*--entry-nb/);
    expect(vifd.process.exitCode).toBeNull();
  });
}

describe.skipIf(missing !== undefined)('vifd run in a driver domain', () => {
  inOwnNetwork(import.meta.url, tests);
});
