import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createVif } from '../../lib/testing/netfront/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { formatPermission } from '../../lib/xen/store/wire.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

const CLI = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const missing = [CLI, `${LIBRARIES}/libxenctrl.so.1`].find((file) => !existsSync(file));
const NODE = '/local/domain/0/backend/vif/7/0';
const MAC = '00:16:3e:00:00:07';

/** Other work on the machine makes starts of processes slow. */
const PATIENT = { timeout: 30_000 };

interface Line extends Record<string, unknown> {
  readonly event: string;
  /** When it came. */
  readonly atMs: number;
}

/** A program that prints one JSON object a line. */
class Program {
  readonly process: ChildProcess;
  readonly lines: Line[] = [];
  readonly exited: Promise<number | string>;

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.process = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.exited = new Promise((resolve) =>
      this.process.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')),
    );
    createInterface(this.process.stdout!).on('line', (line) => {
      const event = line.startsWith('{') ? JSON.parse(line) : { event: line.split(' ')[0] };
      this.lines.push({ ...event, atMs: performance.now() });
    });
  }

  of(event: string, code?: string): Line[] {
    return this.lines.filter((line) => line.event === event && (code === undefined || line.code === code));
  }

  async until(event: string, code?: string, ms = 30_000): Promise<Line> {
    for (const began = performance.now(); ; await sleep(5)) {
      const [found] = this.of(event, code);
      if (found !== undefined) return found;
      if (performance.now() - began > ms)
        throw new Error(`no ${event} ${code ?? ''} within ${ms} ms: ${JSON.stringify(this.lines)}`);
    }
  }

  async end(signal: NodeJS.Signals): Promise<number | string> {
    this.process.kill(signal);
    return this.exited;
  }
}

type Nodes = [path: string, value: string, permissions: string[]][];

async function dump(store: Store, path: string): Promise<Nodes> {
  const value = await store.read(path);
  if (value === undefined) return [];
  const permissions = (await store.getPermissions(path)).map(formatPermission);
  const below = await Promise.all((await store.list(path)).map((name) => dump(store, `${path}/${name}`)));
  return [[path, value, permissions], ...below.flat()];
}

function tests(): void {
  let directory: string;
  let socket: string;
  let env: NodeJS.ProcessEnv;
  let daemon: Program;
  let vifd: Program;
  let guest: Program;
  let store: Store;
  let nodes: Nodes;
  let programs: Program[];
  const journal = () => ['--journal', join(directory, 'journal')];
  const start = (command: string, args: readonly string[]): Program => {
    const program = new Program(command, args, env);
    programs.push(program);
    return program;
  };
  const node = (...args: string[]) => start(process.execPath, args);
  const run = () => node(CLI, 'run', '--json', '--bridge', 'br0', ...journal());
  const verb = (...args: string[]) => {
    const options = { env: { ...process.env, ...env }, encoding: 'utf8' as const };
    return spawnSync(process.execPath, [CLI, ...args, ...journal()], options);
  };
  const shown = () => JSON.parse(verb('show', '--json').stdout);
  const links = () => execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' });
  const journals = () => readdirSync(join(directory, 'journal')).filter((name) => /^vif\d/.test(name));
  const serve = async (...args: string[]) => {
    daemon = node('dist/testing/xenstored/serve.js', ...args);
    await daemon.until('ready');
  };
  /** The guest's own connection to the store stays lost, because it is not the subject of the test. */
  const serveAgain = (...args: string[]) => serve(...args, `${socket}=0`, `${socket}.8=8`);
  const startGuest = async (domid: number) => {
    const at = `${socket}.${domid}`;
    const args = ['--domid', `${domid}`, '--tap', 'eth0', '--mac', MAC, '--store', at];
    const started = start('unshare', ['-n', process.execPath, 'dist/testing/netfront/guest.js', ...args]);
    await started.until('connected');
    const up = `ip addr add 10.77.0.${domid}/24 dev eth0 && ip link set eth0 up`;
    execFileSync('nsenter', ['-t', `${started.process.pid}`, '-n', 'sh', '-c', up]);
    return started;
  };

  /** Each process has a connection of its own to xenstored, and reports once that it is lost. */
  const expectOneErrorEach = () => {
    const lines = vifd.of('error');
    expect(lines.map(({ code }) => code)).toEqual(lines.map(() => 'ERR_STORE_GONE'));
    expect(new Set(lines.map(({ worker }) => worker)).size).toBe(lines.length);
  };

  /** Pings the guest until stopped. @returns the highest number that came back, and how many below it did not. */
  function pings(): () => Promise<{ last: number; lost: number }> {
    const ping = spawn('ping', ['-i', '0.02', '10.77.0.7'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    ping.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    const closed = new Promise((resolve) => ping.once('close', resolve));
    return async () => {
      ping.kill('SIGINT');
      await closed;
      const numbers = new Set([...text.matchAll(/icmp_seq=(\d+)/g)].map(([, number]) => Number(number)));
      const last = Math.max(...numbers);
      return { last, lost: last - numbers.size };
    };
  }

  const expectPing = () =>
    expect
      .poll(() => spawnSync('ping', ['-c', '1', '-W', '1', '10.77.0.7'], { stdio: 'ignore' }).status, {
        timeout: 30_000,
      })
      .toBe(0);

  beforeAll(() => {
    for (const which of ['default', 'all'])
      writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
    for (const line of [
      'link set lo up',
      'link add br0 type bridge',
      'addr add 10.77.0.1/24 dev br0',
      'link set br0 up',
    ])
      execFileSync('ip', line.split(' '));
  });
  afterAll(() => {
    execFileSync('ip', ['link', 'del', 'br0']);
  });

  beforeEach(async () => {
    programs = [];
    directory = mkdtempSync('/dev/shm/vifd-away-');
    socket = join(directory, 'store');
    env = { XENSIM: directory, XENSTORED_PATH: socket, VIFD_XEN_LIBRARIES: LIBRARIES };
    await serve(`${socket}=0`, `${socket}.7=7`);
    store = await openStore({ path: socket });
    await createVif(store, { domid: 7, handle: 0, mac: MAC });
    vifd = run();
    await vifd.until('ready');
    guest = await startGuest(7);
    await vifd.until('attached');
    await expectPing();
    nodes = await dump(store, '/local');
  }, 90_000);

  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await Promise.all(programs.map((program) => program.end('SIGKILL')));
    await killWorkers(directory);
    spawnSync('ip', ['link', 'del', 'vif7.0'], { stdio: 'ignore' });
    spawnSync('ip', ['link', 'del', 'vif8.0'], { stdio: 'ignore' });
    rmSync(directory, { recursive: true });
  });

  it('reports at once that xenstored was killed, serves on, and reads everything anew when it is back with its contents', async () => {
    const stop = pings();
    const killedMs = performance.now();
    await daemon.end('SIGKILL');
    const reported = await vifd.until('error', 'ERR_STORE_GONE');
    expect(reported.atMs - killedMs).toBeLessThan(1000);
    expect(reported.message).toContain(`The connection to xenstored at ${socket} is lost`);
    await sleep(3000);
    expect(shown()).toMatchObject({
      vifs: [{ id: 'vif7.0', state: 'connected' }],
      faults: [{ code: 'ERR_STORE_GONE' }],
    });
    expect(verb('show').stdout).toContain('is lost');
    const contents = join(directory, 'contents');
    writeFileSync(contents, JSON.stringify(nodes));
    await serveAgain('--load', contents);
    const backMs = performance.now();
    expect((await vifd.until('mended', 'ERR_STORE_GONE')).atMs - backMs).toBeLessThan(2000);
    expect(await stop()).toEqual({ last: expect.toSatisfy((last: number) => last > 20), lost: 0 });
    expect(shown().faults).toEqual([]);
    // vifd serves a vif that appears now, and detaches one whose node is removed now.
    await createVif(store, { domid: 8, handle: 0, mac: '00:16:3e:00:00:08' });
    await expect.poll(() => store.read('/local/domain/0/backend/vif/8/0/state'), PATIENT).toBe('2');
    expect(vifd.of('detached')).toEqual([]);
    await store.rm(NODE);
    expect(await vifd.until('detached')).toMatchObject({ vif: 'vif7.0', why: 'guest-gone' });
    await expect.poll(links, PATIENT).not.toContain('vif7.0');
    // Those of the vif that is served.
    await expect.poll(journals, PATIENT).toEqual(['vif8.0.counters.journal']);
    expectOneErrorEach();
  });

  it('keeps a guest whose node the store has lost, until the node is written again', async () => {
    const stop = pings();
    await daemon.end('SIGKILL');
    await vifd.until('error', 'ERR_STORE_GONE');
    await serveAgain();
    const reported = await vifd.until('error', 'ERR_NODE_GONE');
    expect(reported).toMatchObject({ vif: 'vif7.0' });
    expect(shown().vifs).toMatchObject([
      {
        state: 'connected',
        reason: expect.stringContaining('vifd detach vif7.0'),
        faults: [{ code: 'ERR_NODE_GONE' }],
      },
    ]);
    // Another guest's vif is served all the same.
    await createVif(store, { domid: 8, handle: 0, mac: '00:16:3e:00:00:08' });
    await expect.poll(() => store.read('/local/domain/0/backend/vif/8/0/state'), PATIENT).toBe('2');
    await store.transaction(async (view) => {
      for (const [path, value] of nodes) await view.write(path, value);
    });
    await vifd.until('mended', 'ERR_NODE_GONE');
    expect(await stop()).toEqual({ last: expect.toSatisfy((last: number) => last > 20), lost: 0 });
    expect(vifd.of('detached')).toEqual([]);
  });

  it('detaches a guest whose node is lost when the operator asks for it, and refuses while its node is there', async () => {
    const refused = verb('detach', 'vif7.0');
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/^vifd: vif7\.0 has its node in xenstore.*xl network-detach 7 0/);
    const unknown = verb('detach', 'vif9.0', '--json');
    expect(JSON.parse(unknown.stderr)).toMatchObject({ error: { code: 'ERR_NO_VIF' } });
    expect(verb('detach').status).toBe(2);
    await daemon.end('SIGKILL');
    await serveAgain();
    await vifd.until('error', 'ERR_NODE_GONE');
    expect(journals()).not.toEqual([]);
    const detached = verb('detach', 'vif7.0', '--json');
    expect(detached.stderr).toBe('');
    expect(JSON.parse(detached.stdout)).toEqual({ schemaVersion: 1, detached: 'vif7.0' });
    expect(links()).not.toContain('vif7.0');
    await expect.poll(journals, PATIENT).toEqual([]);
    expect(shown().vifs).toEqual([]);
    expect(await vifd.end('SIGTERM')).toBe(0);
    expect(verb('detach', 'vif7.0').status).toBe(4);
  });

  it('detaches a guest whose domain ends while xenstored is away', async () => {
    await daemon.end('SIGKILL');
    await vifd.until('error', 'ERR_STORE_GONE');
    const endedMs = performance.now();
    await guest.end('SIGKILL');
    expect((await vifd.until('detached')).atMs - endedMs).toBeLessThan(2000);
    await expect.poll(links, PATIENT).not.toContain('vif7.0');
    await expect.poll(journals, PATIENT).toEqual([]);
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)(
    'ends within a second by SIGTERM after xenstored got a %s, and the next one resumes',
    async (signal) => {
      daemon.process.kill(signal);
      await vifd.until('error', 'ERR_STORE_GONE');
      const beganMs = performance.now();
      expect(await vifd.end('SIGTERM')).toBe(0);
      expect(performance.now() - beganMs).toBeLessThan(1000);
      expect(vifd.of('detached')).toMatchObject([{ why: 'shutdown' }]);
      if (signal === 'SIGSTOP') daemon.process.kill('SIGCONT');
      else {
        const contents = join(directory, 'contents');
        writeFileSync(contents, JSON.stringify(nodes));
        await serveAgain('--load', contents);
      }
      const next = run();
      expect(await next.until('attached')).toMatchObject({ resumed: true });
      await expectPing();
    },
  );

  it('reports within a second that xenstored hangs, and resumes its watches when it responds', async () => {
    const stop = pings();
    const stoppedMs = performance.now();
    daemon.process.kill('SIGSTOP');
    const reported = await vifd.until('error', 'ERR_STORE_GONE');
    // A second, and the delay that two busy processors add.
    expect(reported.atMs - stoppedMs).toBeLessThan(1500);
    expect(reported.message).toContain('has not responded');
    await sleep(1000);
    daemon.process.kill('SIGCONT');
    await vifd.until('mended', 'ERR_STORE_GONE');
    expect(await stop()).toEqual({ last: expect.toSatisfy((last: number) => last > 20), lost: 0 });
    await store.rm(NODE);
    expect(await vifd.until('detached')).toMatchObject({ why: 'guest-gone' });
    expectOneErrorEach();
  });

  it('reports within a second that the xenstored hangs that it needs to start, and starts when it responds', async () => {
    await vifd.end('SIGKILL');
    await killWorkers(directory);
    daemon.process.kill('SIGSTOP');
    const startedMs = performance.now();
    vifd = run();
    const reported = await vifd.until('error', 'ERR_STORE_GONE');
    // A second, and the delay that two busy processors add.
    expect(reported.atMs - startedMs).toBeLessThan(2000);
    expect(reported.message).toContain('has not responded');
    daemon.process.kill('SIGCONT');
    await vifd.until('mended', 'ERR_STORE_GONE');
    await vifd.until('attached');
    await expectPing();
  });
}

if (missing !== undefined) it.skip(`vifd run needs ${missing}: npm run build`, () => {});
else inOwnNetwork(import.meta.url, () => describe('vifd without its xenstored', { timeout: 90_000 }, tests));
