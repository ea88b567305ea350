import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errnoName } from '../../lib/addon.js';
import { holdLiveness, makeLiveness, watchDeath } from '../../lib/host/liveness.js';
import { openCount } from '../host/descriptors.js';
import { whyNoAddon } from './reason.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = JSON.stringify(resolve(process.env.VIFD_ADDON ?? `${root}build/Release/vifd.node`));
const python = spawnSync('python3', ['-c', 'import ctypes']).status === 0;
const PAGE_BYTES = 4096;
const HOLDS = 'const held = addon.holdLiveness(3); if (held < 0) throw held;';
const WAITS = 'process.stdout.write("."); setInterval(() => {}, 1e6);';
const threads = () => readdirSync('/proc/self/task').length;

describe.skipIf(whyNoAddon())('the liveness of a process', () => {
  let page: number;
  let before: number;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    before = openCount();
    page = makeLiveness();
  });
  afterEach(async () => {
    for (const child of children.splice(0)) {
      const gone = child.exitCode === null && child.signalCode === null && once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }
    closeSync(page);
    // Descriptors of pipes to children close a little later.
    await expect.poll(openCount).toBe(before);
  });

  /** Starts a process that has the page at descriptor 3. Resolves when it has written something. */
  async function start(program: string): Promise<ChildProcess & { readonly pid: number }> {
    const code = `const addon = require(${file}); const fs = require('node:fs'); ${program}`;
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit', page] });
    children.push(child);
    const ended = once(child, 'exit').then(([status, signal]) => {
      throw new Error(`the process ended: ${status ?? signal}`);
    });
    await Promise.race([once(child.stdout!, 'data'), ended]);
    ended.catch(() => undefined);
    return child as ChildProcess & { readonly pid: number };
  }

  /** @returns what is seen first of a process. */
  function deathOf(pid: number): { readonly watch: Disposable; readonly seen: Promise<string> } {
    let watch!: Disposable;
    const seen = new Promise<string>((onDeath) => {
      watch = watchDeath({ pid, liveness: page, onDeath });
    });
    return { watch, seen };
  }

  async function errnoOfHolding(): Promise<string> {
    const child = spawn(process.execPath, ['-p', `require(${file}).holdLiveness(3)`], {
      stdio: ['ignore', 'pipe', 'inherit', page],
    });
    const ended = once(child, 'close');
    const [text] = await once(child.stdout!, 'data');
    await ended;
    return errnoName(Number(text));
  }

  /** Resolves when the page shows a death: the process that is named beside it, this one, does not end. */
  const pageShows = () => deathOf(process.pid).seen;

  it.each(['SIGKILL', 'SIGTERM', 'SIGABRT', 'SIGSEGV'] as const)(
    'ends by %s, and its page shows it',
    async (signal) => {
      const { pid } = await start(`${HOLDS} ${WAITS}`);
      const shown = pageShows();
      process.kill(pid, signal);
      expect(await shown).toBe('page');
    },
  );

  it('ends by itself, and its page shows it', async () => {
    await start(`${HOLDS} ${WAITS} setTimeout(() => process.exit(0), 100);`);
    expect(await pageShows()).toBe('page');
  });

  it('ends while its memory is still there', async () => {
    const seen: string[] = [];
    // Other processes may take the processor from the watch for as long as the kernel frees the memory, but hardly each time.
    while (seen.length < 5 && !seen.includes('page')) {
      closeSync(page);
      page = makeLiveness();
      const { pid } = await start(`${HOLDS} Buffer.alloc(200 << 20, 1); ${WAITS}`);
      const death = deathOf(pid);
      process.kill(pid, 'SIGKILL');
      seen.push(await death.seen);
    }
    expect(seen).toContain('page');
  });

  it('is seen by all that watch, also by one that began before the page was held, and one that began after the death', async () => {
    const early = pageShows();
    const { pid } = await start(`${HOLDS} ${WAITS}`);
    const watches = Array.from({ length: 4 }, pageShows);
    process.kill(pid, 'SIGKILL');
    expect(await Promise.all([early, ...watches])).toEqual(Array(5).fill('page'));
    expect(await pageShows()).toBe('page');
  });

  it('has no core dump, for which the page would wait', async () => {
    const { pid } = await start(`${HOLDS} ${WAITS}`);
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size +1 +1 +bytes/m);
  });

  it('is held by one process, and by none after that', async () => {
    const { pid } = await start(`${HOLDS} ${WAITS}`);
    expect(await errnoOfHolding()).toBe('EBUSY');
    const shown = pageShows();
    process.kill(pid, 'SIGKILL');
    await shown;
    expect(await errnoOfHolding()).toBe('EBUSY');
    expect(await errnoOfHolding()).toBe('EBUSY');
    expect(() => holdLiveness(-1)).toThrow(expect.objectContaining({ code: 'ERR_STATE', errno: 'EBADF' }));
  });

  describe('that writes what it likes into its page', () => {
    it.each([
      ['never holds it', ''],
      ['fills it with zeros', `${HOLDS} fs.writeSync(3, Buffer.alloc(${PAGE_BYTES}), 0, ${PAGE_BYTES}, 0);`],
      ['has removed the memory of its mutex', `${HOLDS} fs.writeSync(3, Buffer.alloc(64, 0x3f), 0, 64, 0);`],
    ])('and %s: its end is seen all the same', async (_, program) => {
      const { pid } = await start(`${program} ${WAITS}`);
      const { seen } = deathOf(pid);
      process.kill(pid, 'SIGKILL');
      expect(await seen).toBe('process');
    });

    it('and claims to be dead: is believed, and lives', async () => {
      const program = `${HOLDS} fs.writeSync(3, Buffer.alloc(64, 0xff), 0, 64, 0);`;
      const { pid, ...child } = await start(`${program} ${WAITS}`);
      expect(await deathOf(pid).seen).toBe('page');
      expect(child.exitCode).toBeNull();
      process.kill(pid, 0);
    });

    it.skipIf(!python)(
      'and wakes its watcher without an end: costs it little, which can stop at any time',
      async () => {
        const wakes = `import ctypes, mmap, os, platform
page = mmap.mmap(3, ${PAGE_BYTES}); word = ctypes.c_uint32.from_buffer(page); libc = ctypes.CDLL(None)
futex = 98 if platform.machine() == 'aarch64' else 202
os.write(1, b'.')
while True:
  word.value = word.value + 1 & 0xffff
  libc.syscall(futex, ctypes.byref(word), 1, 0x7fffffff, None, None, 0)`;
        const child = spawn('python3', ['-c', wakes], { stdio: ['ignore', 'pipe', 'inherit', page] });
        children.push(child);
        await once(child.stdout!, 'data');
        const { watch } = deathOf(child.pid!);
        await sleep(50);
        const cpu = process.cpuUsage();
        await sleep(400);
        const { user, system } = process.cpuUsage(cpu);
        watch[Symbol.dispose]();
        expect(user + system).toBeLessThan(60_000);
      },
    );

    it('cannot cut it off, or have another file watched', async () => {
      expect(() => ftruncateSync(page, 0)).toThrow(/EPERM/);
      expect(() => ftruncateSync(page, 2 * PAGE_BYTES)).toThrow(/EPERM/);
      expect(fstatSync(page).size).toBe(PAGE_BYTES);
      const watched = (liveness: number) => () => watchDeath({ pid: 1, liveness, onDeath: () => {} });
      const other = openSync(fileURLToPath(import.meta.url), 'r');
      expect(watched(other)).toThrow(expect.objectContaining({ errno: 'EINVAL' }));
      closeSync(other);
      const folder = mkdtempSync('/dev/shm/vifd-liveness-');
      writeFileSync(`${folder}/page`, Buffer.alloc(PAGE_BYTES));
      const unsealed = openSync(`${folder}/page`, 'r+');
      expect(watched(unsealed)).toThrow(expect.objectContaining({ errno: 'EPERM' }));
      expect(() => holdLiveness(unsealed)).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
      closeSync(unsealed);
      rmSync(folder, { recursive: true });
      expect(watched(-1)).toThrow(expect.objectContaining({ errno: 'EBADF' }));
    });
  });

  it('is watched no longer after disposal, and leaves no thread and no descriptor', async () => {
    const { pid } = await start(`${HOLDS} ${WAITS}`);
    const [threadsBefore, openBefore] = [threads(), openCount()];
    let deaths = 0;
    const watches = Array.from({ length: 20 }, () => {
      return watchDeath({ pid, liveness: page, onDeath: () => deaths++ });
    });
    expect(threads()).toBe(threadsBefore + 20);
    for (const watch of watches) watch[Symbol.dispose]();
    for (const watch of watches) watch[Symbol.dispose]();
    expect([threads(), openCount()]).toEqual([threadsBefore, openBefore]);
    process.kill(pid, 'SIGKILL');
    await sleep(50);
    expect(deaths).toBe(0);
  });

  it('is seen at once of a process that is gone already', async () => {
    const child = await start(WAITS);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await deathOf(child.pid).seen).toBe('process');
  });

  it('may be watched by a process that ends: it does not wait', async () => {
    const program = `const watch = addon.watchLiveness(3);
      addon.watch(watch.descriptor, () => {}, true); addon.watch(addon.openProcess(process.ppid), () => {}, true); fs.writeSync(1, '.');`;
    const child = await start(program);
    const [status] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode];
    expect(status).toBe(0);
  });

  it('is for the main thread to hold, and may be watched in one that is terminated', async () => {
    const program = `const addon = require(${file}); const { parentPort } = require('node:worker_threads');
      const watch = addon.watchLiveness(${page}); addon.watch(watch.descriptor, () => {}, true);
      parentPort.postMessage(addon.holdLiveness(${page})); setInterval(() => {}, 1e6);`;
    const threadsBefore = threads();
    const worker = new Worker(program, { eval: true });
    const [result] = await once(worker, 'message');
    expect(errnoName(result)).toBe('EPERM');
    await worker.terminate();
    await expect.poll(threads).toBeLessThanOrEqual(threadsBefore);
  });
});
