import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createVif } from '../../lib/testing/netfront/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { Datagrams, whyNoDatagrams } from '../../worlds/processes/datagrams.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

const CLI = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const STATE = '/local/domain/0/backend/vif/7/0/state';
const OWNER = '/local/domain/0/backend/vif/7/0/vifd/owner';
const missing = [CLI, `${LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));

/** A program that prints one JSON object a line. */
class Program {
  readonly process: ChildProcess;
  readonly events: Array<Record<string, unknown>> = [];
  readonly exited: Promise<number | string>;
  readonly #env: NodeJS.ProcessEnv;
  #wake = () => {};

  constructor(args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#env = env;
    this.process = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.exited = new Promise((resolve) =>
      this.process.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')),
    );
    createInterface(this.process.stdout!).on('line', (line) => {
      this.events.push(line.startsWith('{') ? JSON.parse(line) : { event: line.split(' ')[0] });
      this.#wake();
    });
  }

  async until(event: string): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.events.find((seen) => seen.event === event);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** A SIGKILL of `vifd run` ends its workers, too. */
  async end(signal: NodeJS.Signals): Promise<number | string> {
    this.process.kill(signal);
    const how = await this.exited;
    if (signal === 'SIGKILL') await killWorkers(this.#env.XENSIM ?? '');
    return how;
  }
}

function runTests(): void {
  let directory: string;
  let env: NodeJS.ProcessEnv;
  let serve: Program;
  let guest: Program;
  let store: Store;
  const journal = () => ['--journal', join(directory, 'journal')];
  const links = () => execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' });

  beforeAll(async () => {
    directory = mkdtempSync('/dev/shm/vifd-test-');
    const socket = join(directory, 'store');
    env = { XENSIM: directory, XENSTORED_PATH: socket, VIFD_XEN_LIBRARIES: LIBRARIES };
    serve = new Program(['dist/testing/xenstored/serve.js', `${socket}=0`, `${socket}.7=7`], env);
    await serve.until('ready');
    store = await openStore({ path: socket });
    await createVif(store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' });
    guest = new Program(
      ['dist/testing/netfront/guest.js', '--domid', '7', '--store', `${socket}.7`, '--send', '60,1514,65000'],
      env,
    );
  });
  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await serve.end('SIGTERM');
    rmSync(directory, { recursive: true });
  });

  it('attaches, detaches by SIGTERM with exit code 0, and leaves tap and state as they are', async () => {
    const vifd = new Program([CLI, 'run', '--json', ...journal()], env);
    expect(await vifd.until('attached')).toMatchObject({ vif: 'vif7.0', resumed: false, schemaVersion: 1 });
    await guest.until('connected');
    expect(await store.read(STATE)).toBe('4');
    expect(await vifd.end('SIGTERM')).toBe(0);
    expect(await vifd.until('detached')).toMatchObject({ why: 'shutdown' });
    expect(await store.read(STATE)).toBe('4');
    expect(links()).toContain('vif7.0');
  });

  it('responds to `vifd show`, of one vif or all; without a vifd that fails with exit code 4', async () => {
    const show = (...args: string[]) =>
      spawnSync(process.execPath, [CLI, 'show', ...args, ...journal()], {
        env: { ...process.env, ...env },
        encoding: 'utf8',
      });
    const vifd = new Program([CLI, 'run', '--json', ...journal()], env);
    await vifd.until('attached');
    const { vifs } = JSON.parse(show('vif7.0', '--json').stdout);
    expect(vifs).toMatchObject([{ id: 'vif7.0', state: 'connected', connection: { journal: true } }]);
    expect(show().stdout).toMatch(/^vif7\.0 {2}connected: vif7\.0 is in no bridge.*--bridge/m);
    const none = show('vif9.0');
    expect([none.status, none.stderr]).toEqual([1, expect.stringContaining('vifd: vif9.0 is not served')]);
    expect(await vifd.end('SIGTERM')).toBe(0);
    const nobody = show('--json');
    expect(nobody.status).toBe(4);
    expect(JSON.parse(nobody.stderr)).toMatchObject({ error: { code: 'ERR_NOT_RUNNING' } });
  });

  it('refuses to serve beside another one that has its runtime directory', async () => {
    const vifd = new Program([CLI, 'run', '--json', ...journal()], env);
    await vifd.until('attached');
    const second = spawnSync(process.execPath, [CLI, 'run', ...journal()], {
      env: { ...process.env, ...env },
      encoding: 'utf8',
    });
    expect(second.status).toBe(1);
    expect(second.stderr).toContain(`vifd: Another vifd (process ${vifd.process.pid}) serves from`);
    expect(await vifd.end('SIGTERM')).toBe(0);
  });

  it('detaches a vif that is released to another backend, and attaches again when it is adopted', async () => {
    const vifd = new Program([CLI, 'run', '--json', ...journal()], env);
    await vifd.until('attached');
    expect(await store.read(OWNER)).toBe('vifd');
    await store.write(OWNER, 'kernel');
    expect(await vifd.until('detached')).toMatchObject({ vif: 'vif7.0', why: 'released' });
    await expect.poll(links).not.toContain('vif7.0');
    expect(await store.read(STATE)).toBe('4');
    await store.write(OWNER, 'vifd');
    await expect.poll(() => vifd.events.filter(({ event }) => event === 'attached').length).toBe(2);
    expect(vifd.events.findLast(({ event }) => event === 'attached')).toMatchObject({ resumed: true });
    expect(await vifd.end('SIGTERM')).toBe(0);
  });

  it('serves without the parts of Node that cost a start', async () => {
    const vifd = new Program(
      ['--require', './test/cli/print-modules.cjs', CLI, 'run', '--json', '--workers', '0', ...journal()],
      env,
    );
    expect(await vifd.until('attached')).toMatchObject({ resumed: true });
    await vifd.end('SIGTERM');
    const costly = [
      'net',
      'stream',
      'perf_hooks',
      'fs/promises',
      'child_process',
      'internal/modules/cjs/loader',
    ];
    const loaded = async (when: string) => {
      const { modules } = await vifd.until(when);
      return costly.filter((name) => (modules as string[]).includes(name));
    };
    const loader = costly.at(-1);
    // `inlineMore` loads `v8`, which loads `stream`, once vifd serves.
    expect(await loaded('modules')).toEqual(['stream', loader]);
    expect(await loaded('v8')).toEqual([loader]);
    const order = vifd.events.map(({ event }) => event);
    expect(order).toContain('ready');
    expect(order.indexOf('v8')).toBeGreaterThan(order.indexOf('ready'));
  });

  it('writes its code cache once it has served a guest for some seconds, and the next process uses that', async () => {
    const cached = { ...env, VIFD_CODE_CACHE: join(directory, 'code') };
    const files = () => (existsSync(cached.VIFD_CODE_CACHE) ? readdirSync(cached.VIFD_CODE_CACHE) : []);
    const vifd = new Program([CLI, 'run', '--json', ...journal()], cached);
    await vifd.until('attached');
    expect(files()).toEqual([]);
    await expect
      .poll(files, { timeout: 15_000, interval: 100 })
      .toEqual([expect.stringMatching(/^run-.*\.code$/)]);
    expect(await vifd.end('SIGKILL')).toBe('SIGKILL');
    const next = new Program([CLI, 'run', '--json', ...journal()], cached);
    expect(await next.until('attached')).toMatchObject({ resumed: true });
    const { stdout } = spawnSync(process.execPath, [CLI, 'check', '--json', ...journal()], {
      env: { ...process.env, ...cached },
      encoding: 'utf8',
    });
    const [file] = files();
    expect(JSON.parse(stdout).checks).toContainEqual({
      name: 'code cache',
      state: 'ok',
      found: join(cached.VIFD_CODE_CACHE, file!),
    });
    expect(await next.end('SIGTERM')).toBe(0);
  }, 60_000);

  it.each(['copy', 'map'])('survives SIGKILL under traffic, payload by %s', async (payload) => {
    for (let run = 0; run < 5; run++) {
      const vifd = new Program([CLI, 'run', '--json', '--payload', payload, ...journal()], env);
      expect(await vifd.until('attached')).toMatchObject({ resumed: true });
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await vifd.end('SIGKILL')).toBe('SIGKILL');
    }
    expect(guest.events.filter(({ event }) => event === 'violation')).toEqual([]);
    expect(await store.read(STATE)).toBe('4');
  });

  it.skipIf(whyNoDatagrams)(
    'notifies its service manager when it serves all that waited, and when it ends',
    async () => {
      const socket = join(directory, 'notify');
      using manager = await Datagrams.bind(socket);
      const watchdog = { WATCHDOG_USEC: '200000' };
      const vifd = new Program([CLI, 'run', '--json', ...journal()], {
        ...env,
        NOTIFY_SOCKET: socket,
        ...watchdog,
      });
      await manager.until('READY=1;STATUS=1 vif attached');
      await manager.until('WATCHDOG=1');
      expect(await vifd.end('SIGTERM')).toBe(0);
      await manager.until('STOPPING=1');
      expect(manager.received[0]).toMatch(/^(FDSTORE|READY|WATCHDOG)=1/);
      expect(manager.received.at(-1)).toMatch(/^STOPPING=1/);
    },
  );

  it('lists vifs as a table and as JSON', () => {
    const list = (...args: string[]) =>
      spawnSync(process.execPath, [CLI, 'list', ...args], {
        env: { ...process.env, ...env },
        encoding: 'utf8',
      });
    expect(list().stdout).toBe(
      'VIF     DOMAIN  BACKEND    FRONTEND   MAC                BRIDGE\n' +
        'vif7.0  -       Connected  Connected  00:16:3e:00:00:07  -\n',
    );
    expect(JSON.parse(list('--json').stdout)).toMatchObject({
      schemaVersion: 1,
      vifs: [{ vif: 'vif7.0', backend: 'Connected', frontend: 'Connected' }],
    });
  });

  it('sees a guest off: Closing, Closed, and no violation in all that time', async () => {
    const vifd = new Program([CLI, 'run', '--json', ...journal()], env);
    await vifd.until('attached');
    expect(await guest.end('SIGTERM')).toBe(0);
    expect(await guest.until('summary')).toMatchObject({ violations: 0 });
    expect(await vifd.until('detached')).toMatchObject({ why: 'guest-closed' });
    expect(await vifd.end('SIGTERM')).toBe(0);
  });
}

describe('vifd', () => {
  const run = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    spawnSync(process.execPath, [CLI, ...args], { env: { ...process.env, ...env }, encoding: 'utf8' });

  it.skipIf(missing !== undefined)('ends with one line and exit code 2 on bad usage', () => {
    const bad = [
      ['fly'],
      ['run', '--payload', 'telepathy'],
      ['run', '--bridge', ''],
      ['run', '--bridge', 'a name that is too long'],
      ['run', '--journal', ''],
      ['detach', 'eth0'],
      ['list', '--colour'],
      ['adopt'],
      ['adopt', 'eth0'],
      ['release', 'vif1.0', '--all'],
    ];
    for (const args of bad) {
      const { status, stderr } = run(args);
      expect(status).toBe(2);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }
  });

  it.skipIf(missing !== undefined)(
    'reports what is missing on a machine without a store, in one line',
    () => {
      const { status, stderr } = run(['list'], { XENSTORED_PATH: '/nowhere/socket' });
      expect(status).toBe(1);
      expect(stderr).toMatch(/^vifd: .*\/nowhere\/socket/);
      expect(stderr.trim().split('\n')).toHaveLength(1);
      const json = run(['list', '--json'], { XENSTORED_PATH: '/nowhere/socket' });
      expect(JSON.parse(json.stderr)).toMatchObject({
        schemaVersion: 1,
        error: { code: 'ERR_XEN_UNAVAILABLE' },
      });
    },
  );
});

if (missing !== undefined) it.skip(`vifd run needs ${missing}: npm run build`, () => {});
else inOwnNetwork(import.meta.url, () => describe('vifd run', runTests));
