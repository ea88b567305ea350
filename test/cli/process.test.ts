import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createVif } from '../../lib/testing/netfront/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';

const CLI = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const FRONTEND = '/local/domain/7/device/vif/0';
const missing = [CLI, `${LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));

/** `vifd run` for people: what it wrote to stderr, line by line. */
class Daemon {
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;
  text = '';

  constructor(args: readonly string[], env: NodeJS.ProcessEnv) {
    this.process = spawn(process.execPath, [CLI, 'run', ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.exited = once(this.process, 'exit');
    this.process.stderr?.on('data', (data) => {
      this.text += data;
    });
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }

  says(what: RegExp): Promise<void> {
    return expect.poll(() => this.text, { timeout: 10_000, interval: 5 }).toMatch(what);
  }

  /** @returns the exit code, and how long it took. */
  async end(signal: NodeJS.Signals): Promise<{ code: unknown; ms: number }> {
    const began = performance.now();
    this.process.kill(signal);
    const [code, by] = await this.exited;
    return { code: code ?? by, ms: performance.now() - began };
  }
}

function runTests(): void {
  let directory: string;
  let env: NodeJS.ProcessEnv;
  let serve: ChildProcess;
  let store: Store;
  let guest: Store;
  let daemon: Daemon;
  const runtime = () => join(directory, 'journal');

  beforeAll(async () => {
    directory = mkdtempSync('/dev/shm/vifd-test-');
    const socket = join(directory, 'store');
    env = { XENSIM: directory, XENSTORED_PATH: socket, VIFD_XEN_LIBRARIES: LIBRARIES };
    serve = spawn(process.execPath, ['dist/testing/xenstored/serve.js', `${socket}=0`, `${socket}.7=7`], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(serve.stdout!, 'data');
    store = await openStore({ path: socket });
    guest = await openStore({ path: `${socket}.7` });
    execFileSync('ip', ['link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0']);
    execFileSync('ip', ['link', 'set', 'br0', 'up']);
    await createVif(store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07', bridge: 'br0' });
  });
  afterEach(async () => {
    if (daemon.process.exitCode === null) await daemon.end('SIGKILL');
    await killWorkers(directory);
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    serve.kill('SIGTERM');
    rmSync(directory, { recursive: true });
  });

  const start = async (args: readonly string[] = [], more: NodeJS.ProcessEnv = {}) => {
    daemon = new Daemon(['--journal', runtime(), ...args], { ...env, ...more });
    await daemon.says(/^serving 1 vif/m);
  };
  const listeners = () =>
    ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => / 0A /.test(line)),
    );

  it('continues after SIGHUP and SIGUSR1, which opens no debugger', async () => {
    await start();
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGHUP', 'SIGUSR1'] as const) daemon.process.kill(signal);
    await sleep(500);
    expect(daemon.process.exitCode).toBe(null);
    expect(listeners()).toEqual([]);
    expect(daemon.text).not.toContain('Debugger');
    expect(await daemon.end('SIGTERM')).toMatchObject({ code: 0 });
    expect(daemon.lines.at(-1)).toBe('detaching; guests stay connected');
  });

  it('ends after SIGTERM about as soon as a Node that does nothing', async () => {
    const idleMs: number[] = [];
    const vifdMs: number[] = [];
    for (let round = 0; round < 7; round++) {
      // With workers this takes the end of each of them as well.
      await start(['--workers', '0']);
      const program =
        "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 1e3); console.log('.')";
      const idle = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'ignore'] });
      await once(idle.stdout, 'data');
      const began = performance.now();
      idle.kill('SIGTERM');
      await once(idle, 'exit');
      idleMs.push(performance.now() - began);
      const { code, ms } = await daemon.end('SIGTERM');
      expect(code).toBe(0);
      vifdMs.push(ms);
    }
    // The best of each, since a busy machine makes single rounds as long as it likes. `npm run bench -- gap` has medians.
    expect(Math.min(...vifdMs) / Math.min(...idleMs)).toBeLessThan(2);
  }, 120_000);

  it('ends within a second after SIGTERM while it cannot even start', async () => {
    serve.kill('SIGSTOP');
    daemon = new Daemon(['--journal', runtime()], env);
    await sleep(400);
    const { ms } = await daemon.end('SIGTERM');
    serve.kill('SIGCONT');
    expect(ms).toBeLessThan(1000);
  });

  it('does not let a guest forge or flood its log', async () => {
    await start();
    await guest.write(`${FRONTEND}/request-rx-copy`, '1');
    await guest.write(
      `${FRONTEND}/tx-ring-ref`,
      "1'\n<0>vifd[1]: forged\nvif8.0 detached: released\x1b[2J\x9b\u202e",
    );
    await guest.write(`${FRONTEND}/state`, '4');
    await daemon.says(/vif7\.0 stopped/);
    expect(daemon.lines.filter((line) => !/^(serving|vif7\.0 |worker \d+ started)/.test(line))).toEqual([]);
    expect(daemon.text.replaceAll('\n', '')).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    const show = spawnSync(process.execPath, [CLI, 'show', '--journal', runtime()], {
      env: { ...process.env, ...env },
      encoding: 'utf8',
    });
    expect(show.stdout.replaceAll('\n', '')).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    expect(show.stdout).toMatch(/^vif7\.0 {2}stopped: tx-ring-ref is '1\\'\\n<0>vifd\[1\]/m);

    const before = daemon.text.length;
    // On a busy machine vifd sees few of the writes: it must have seen enough for a flood.
    let flooded = 0;
    for (let i = 0; flooded < 100; i++) {
      if (daemon.lines.length > 10) flooded++;
      await guest.write(`${FRONTEND}/tx-ring-ref`, `${i}${'A'.repeat(1500)}`);
      await guest.write(`${FRONTEND}/state`, '4');
    }
    await daemon.says(/^vif7\.0: \d+ lines left out in \d+ s; the last: vif7\.0 stopped/m);
    expect(daemon.text.length - before).toBeLessThan(6000);
    await guest.write(`${FRONTEND}/state`, '1');
    expect(await daemon.end('SIGTERM')).toMatchObject({ code: 0 });
  }, 60_000);

  it('reports at its start which vifs it does not serve', async () => {
    await guest.write(`${FRONTEND}/tx-ring-ref`, 'nonsense');
    await guest.write(`${FRONTEND}/state`, '4');
    daemon = new Daemon(['--journal', runtime()], env);
    await daemon.says(/^serving 0 vifs, 1 not served: vif7\.0: tx-ring-ref is 'nonsense'/m);
    await guest.write(`${FRONTEND}/state`, '1');
    await daemon.end('SIGTERM');
  });

  it('refuses a directory that others can write, with one line and exit code 2', async () => {
    const open = join(directory, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    daemon = new Daemon(['--journal', open], env);
    expect(await daemon.exited).toEqual([2, null]);
    expect(daemon.lines).toEqual([expect.stringContaining(`chmod 700 ${open}`)]);
  });

  it.each(['0', '1'])(
    'serves with a runtime directory that has no room for a lock, reports it once, and takes the lock later, workers: %s',
    async (workers) => {
      const full = join(directory, `full-${workers}`);
      mkdirSync(full);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,nr_inodes=1,mode=0700', 'tmpfs', full]);
      try {
        daemon = new Daemon(['--journal', full, '--workers', workers], env);
        await daemon.says(/^serving 1 vif/m);
        const count = workers === '0' ? 2 : 5;
        const reports = () => daemon.lines.filter((line) => line.includes('ENOSPC'));
        await expect.poll(() => reports().length, { timeout: 10_000 }).toBe(count);
        await sleep(1000);
        // Each process reports what it has of its own.
        const lines = reports();
        expect(lines).toEqual(
          expect.arrayContaining([
            expect.stringMatching(/^The runtime directory .* cannot be used \(ENOSPC\)/),
            expect.stringMatching(
              /^vif7\.0: Journal .*counters\.journal cannot be used \(ENOSPC\): its counters end with this process/,
            ),
          ]),
        );
        const others = lines.filter(
          (line) => !/^(The runtime directory|vif7\.0: Journal|The socket) /.test(line),
        );
        expect(others).toEqual([]);
        expect(lines.length).toBe(count);
        execFileSync('mount', ['-o', 'remount,nr_inodes=100', full]);
        const mended = 'mended: The runtime directory .* cannot be used';
        await daemon.says(new RegExp(workers === '0' ? mended : `${mended}[^]*${mended}`));
        const second = spawnSync(process.execPath, [CLI, 'run', '--journal', full], {
          env: { ...process.env, ...env },
          encoding: 'utf8',
        });
        expect(second.stderr).toContain(`Another vifd (process ${daemon.process.pid}) serves from`);
        expect(await daemon.end('SIGTERM')).toMatchObject({ code: 0 });
      } finally {
        execFileSync('umount', ['--lazy', full]);
      }
    },
  );

  it('whose start fails ends a second later under a service manager, which starts the next one at once', async () => {
    const took = async (more: NodeJS.ProcessEnv) => {
      const began = performance.now();
      daemon = new Daemon(['--journal', runtime()], { ...env, XENSTORED_PATH: '/nowhere/socket', ...more });
      expect(await daemon.exited).toEqual([1, null]);
      expect(daemon.lines).toHaveLength(1);
      return performance.now() - began;
    };
    const managed = await took({ NOTIFY_SOCKET: join(directory, 'notify') });
    expect(managed).toBeGreaterThan(1000);
    // The best of three, since a busy machine is slow.
    expect(Math.min(await took({}), await took({}), await took({}))).toBeLessThan(managed);
  }, 60_000);
}

describe.skipIf(missing !== undefined)('vifd', () => {
  it.each(['--version', '-V'])('prints its version (%s)', (flag) => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    const { status, stdout } = spawnSync(process.execPath, [CLI, flag], { encoding: 'utf8' });
    expect([status, stdout]).toEqual([0, `${version}\n`]);
  });
});

if (missing !== undefined) it.skip(`vifd run needs ${missing}: npm run build`, () => {});
else inOwnNetwork(import.meta.url, () => describe('the process of vifd run', runTests));
