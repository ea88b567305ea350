import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createVif } from '../../lib/testing/netfront/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

const CLI = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const missing = [CLI, `${LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));

/** vifd in domain 1, which sees the store as an unprivileged domain does. */
function runTests(): void {
  let directory: string;
  let env: NodeJS.ProcessEnv;
  let store: Store;
  const programs: ChildProcess[] = [];
  const journal = () => ['--journal', join(directory, 'journal')];
  const start = (args: readonly string[], more: NodeJS.ProcessEnv = {}): ChildProcess => {
    const program = spawn(process.execPath, args, {
      env: { ...process.env, ...env, ...more },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    programs.push(program);
    return program;
  };
  const verb = (...args: string[]) =>
    spawnSync(process.execPath, [CLI, ...args], { env: { ...process.env, ...env }, encoding: 'utf8' });

  beforeAll(async () => {
    directory = mkdtempSync('/dev/shm/vifd-test-');
    const socket = join(directory, 'store');
    env = {
      ...{ XENSIM: directory, XENSIM_DOMID: '1', XENSTORED_PATH: `${socket}.1` },
      VIFD_XEN_LIBRARIES: LIBRARIES,
    };
    const sockets = ['0', '1', '7'].map((domid) => `${socket}.${domid}=${domid}`);
    await once(start(['dist/testing/xenstored/serve.js', ...sockets]).stdout!, 'data');
    store = await openStore({ path: `${socket}.0` });
    // As libxl creates a domain: dom0 owns its nodes, and only the domain may read them.
    for (const domid of [1, 7]) {
      const home = `/local/domain/${domid}`;
      await store.mkdir(home);
      await store.setPermissions(home, [
        { domid: 0, access: 'none' },
        { domid, access: 'read' },
      ]);
      await store.write(`${home}/domid`, `${domid}`);
      await store.write(`${home}/name`, `name-of-${domid}`);
    }
    await createVif(store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07', backendDomid: 1 });
    start(['dist/testing/netfront/guest.js', '--domid', '7', '--backend', '1', '--store', `${socket}.7`], {
      XENSIM_DOMID: '7',
    });
    start([CLI, 'run', '--json', ...journal()]);
  });
  afterAll(async () => {
    for (const program of programs.reverse()) {
      program.kill('SIGKILL');
      if (program.exitCode === null && program.signalCode === null) await once(program, 'exit');
    }
    await killWorkers(directory);
    await store[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  const listed = () => JSON.parse(verb('list', '--json').stdout).vifs;

  it('`vifd list` shows its own vifs, without what it may not read: the name of a guest', async () => {
    await expect.poll(() => listed()[0]?.backend, { timeout: 10_000 }).toBe('Connected');
    expect(listed()).toEqual([
      {
        ...{ vif: 'vif7.0', domain: '-', backend: 'Connected', frontend: 'Connected' },
        ...{ mac: '00:16:3e:00:00:07', bridge: '-' },
      },
    ]);
  });

  it('`vifd show` shows them too', () => {
    const { vifs } = JSON.parse(verb('show', '--json', ...journal()).stdout);
    expect(vifs).toMatchObject([{ id: 'vif7.0', domid: 7, state: 'connected' }]);
  });

  it('`vifd check` looks at what only a driver domain needs', () => {
    const { checks } = JSON.parse(verb('check', '--json').stdout);
    expect(checks).toContainEqual({ name: 'xenstore', state: 'ok', found: 'responds, to domain 1' });
    expect(checks).toContainEqual(expect.objectContaining({ name: 'driver domain', state: 'warn' }));
    expect(checks).toContainEqual(expect.objectContaining({ name: 'xl devd', remedy: expect.any(String) }));
  });

  it('`vifd list` shows a vif whose guest’s end was removed, which reads as EACCES', async () => {
    await store.rm('/local/domain/7/device/vif/0');
    expect(listed()).toMatchObject([{ vif: 'vif7.0', frontend: 'Unknown' }]);
  });

  it('a store that gives no number of a domain is an error, and not dom0', async () => {
    await store.write('/local/domain/1/domid', 'x');
    const { status, stderr } = verb('list');
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringMatching(/"x".*`xenstore-read domid`/),
    });
  });
}

if (missing === undefined) inOwnNetwork(import.meta.url, runTests);
else it.skip(`needs ${missing}: build the addon`, () => {});
