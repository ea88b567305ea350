import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runLockHolder, takeRunLock } from '../../lib/host/run-lock.js';
import { VifLocks } from '../../lib/host/vif-locks.js';
import { whyNoAddon } from '../native/reason.js';
import { openCount } from './descriptors.js';

const MODULE = new URL('../../dist/host/vif-locks.js', import.meta.url).href;

const vif = (domid: number, handle = 0) => ({ id: `vif${domid}.${handle}`, domid, handle });
const [SEVEN, EIGHT] = [vif(7), vif(8)];

describe.skipIf(whyNoAddon())('the lock of a vif', () => {
  let directory: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-vifs-'));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  /** Another process, which takes the locks of these vifs. */
  const another = async (...vifs: object[]): Promise<ChildProcess> => {
    const program = `
      import { VifLocks } from '${MODULE}';
      const locks = new VifLocks(${JSON.stringify(directory)});
      for (const vif of ${JSON.stringify(vifs)}) locks.take(vif);
      console.log('has them');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    await once(child.stdout!, 'data');
    return child;
  };
  const running = (pid: number | undefined) =>
    expect.objectContaining({
      code: 'ERR_RUNNING',
      message: expect.stringContaining(`(process ${pid}) serves`),
    });

  it('is taken until it is given back, and names its holder', () => {
    const locks = new VifLocks(directory);
    expect(locks.holder(SEVEN)).toBeUndefined();
    const lock = locks.take(SEVEN);
    expect([locks.holder(SEVEN), locks.holder(EIGHT), lock.stands]).toEqual([process.pid, undefined, true]);
    expect(() => locks.take(SEVEN)).toThrow(running(process.pid));
    expect(() => new VifLocks(directory).take(SEVEN)).toThrow(
      expect.objectContaining({
        vif: 'vif7.0',
        message: expect.stringContaining(`vif7.0 from ${directory}`),
      }),
    );
    lock[Symbol.dispose]();
    expect([locks.holder(SEVEN), lock.stands]).toEqual([undefined, false]);
    locks.take(SEVEN)[Symbol.dispose]();
  });

  it('divides the vifs of a directory among processes, and ends with the one that is killed', async () => {
    const locks = new VifLocks(directory);
    const own = locks.take(EIGHT);
    const child = await another(SEVEN, vif(7, 1));
    expect([SEVEN, vif(7, 1), EIGHT].map((one) => locks.holder(one))).toEqual([
      child.pid,
      child.pid,
      process.pid,
    ]);
    expect(() => locks.take(SEVEN)).toThrow(running(child.pid));
    // A refused lock must not end the locks that this process has on the same file.
    const third = await another(vif(9));
    expect(locks.holder(vif(9))).toBe(third.pid);
    expect(own.stands).toBe(true);
    await expect(refusedIn(EIGHT)).resolves.toContain(`(process ${process.pid}) serves vif8.0`);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    expect([SEVEN, vif(7, 1), EIGHT].map((one) => locks.holder(one))).toEqual([
      undefined,
      undefined,
      process.pid,
    ]);
    const taken = locks.take(SEVEN);
    own[Symbol.dispose]();
    taken[Symbol.dispose]();
  });

  it('is seen by others until it alone is given back', async () => {
    const locks = new VifLocks(directory);
    const [seven, eight] = [locks.take(SEVEN), locks.take(EIGHT)];
    seven[Symbol.dispose]();
    const child = await another(SEVEN);
    expect([locks.holder(SEVEN), locks.holder(EIGHT)]).toEqual([child.pid, process.pid]);
    await expect(refusedIn(EIGHT)).resolves.toContain(`(process ${process.pid}) serves vif8.0`);
    eight[Symbol.dispose]();
  });

  /** The error that another process gets if it cannot lock a vif. */
  async function refusedIn(wanted: object): Promise<string> {
    const program = `
      import { VifLocks } from '${MODULE}';
      try { new VifLocks(${JSON.stringify(directory)}).take(${JSON.stringify(wanted)}); console.log('none'); }
      catch ({ message }) { console.log(message); }`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
    const [text] = await once(child.stdout, 'data');
    return `${text}`;
  }

  it('is the process’s: another thread does not have it, and does not end it', async () => {
    const locks = new VifLocks(directory);
    const lock = locks.take(SEVEN);
    const program = `
      const { parentPort } = require('node:worker_threads');
      import('${MODULE}').then(({ VifLocks }) => {
        const locks = new VifLocks(${JSON.stringify(directory)});
        try { locks.take(${JSON.stringify(SEVEN)}); parentPort.postMessage('taken'); }
        catch ({ code }) { parentPort.postMessage(code); }
      });`;
    const worker = new Worker(program, { eval: true });
    expect((await once(worker, 'message'))[0]).toBe('ERR_RUNNING');
    await worker.terminate();
    await expect(refusedIn(SEVEN)).resolves.toContain(`(process ${process.pid})`);
    lock[Symbol.dispose]();
  });

  it('does not stand any more when the file was deleted or replaced; each can be taken again', () => {
    const locks = new VifLocks(directory);
    const before = [locks.take(SEVEN), locks.take(EIGHT)];
    rmSync(join(directory, 'vifs.lock'));
    expect(before.map(({ stands }) => stands)).toEqual([false, false]);
    writeFileSync(join(directory, 'vifs.lock'), '');
    expect(before.map(({ stands }) => stands)).toEqual([false, false]);
    expect(locks.holder(SEVEN)).toBeUndefined();
    const again = locks.take(SEVEN);
    expect([again.stands, locks.holder(SEVEN), locks.holder(EIGHT)]).toEqual([true, process.pid, undefined]);
    again[Symbol.dispose]();
  });

  it('is none of the directory’s, whose lock is another file', () => {
    using _run = takeRunLock(directory);
    const locks = new VifLocks(directory);
    locks.take(SEVEN)[Symbol.dispose]();
    expect(runLockHolder(directory)).toBe(process.pid);
  });

  it('costs one descriptor for all vifs', () => {
    const before = openCount();
    const locks = new VifLocks(directory);
    const taken = Array.from({ length: 32 }, (_, i) => locks.take(vif(i + 1, i)));
    expect(openCount()).toBe(before + 1);
    for (const lock of taken) lock[Symbol.dispose]();
    expect(openCount()).toBe(before);
  });

  it('is of one vif alone, to the ends of what can be named', () => {
    const locks = new VifLocks(directory);
    const last = 2 ** 32 - 1;
    const all = [vif(0), vif(0, 1), vif(0, last), vif(1), vif(0x7fef, last)];
    const taken = all.map((one) => locks.take(one));
    for (const one of all) expect(locks.holder(one)).toBe(process.pid);
    for (const lock of taken) lock[Symbol.dispose]();
    for (const none of [vif(-1), vif(0x7ff0), vif(0, -1), vif(0, last + 1), vif(0.5), vif(Number.NaN)])
      expect(() => locks.take(none)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });

  it('is refused where other users could take it, or where it cannot be a file', () => {
    const locks = new VifLocks(directory);
    rmSync(directory, { recursive: true });
    expect(() => locks.take(SEVEN)).toThrow(
      expect.objectContaining({ code: 'ERR_JOURNAL', errno: 'ENOENT' }),
    );
    expect(locks.holder(SEVEN)).toBeUndefined();
    writeFileSync(directory, '');
    // A process that cannot use the directory serves all the same.
    expect(() => new VifLocks(directory).take(SEVEN)).toThrow(
      expect.objectContaining({ code: 'ERR_JOURNAL', errno: 'ENOTDIR' }),
    );
    rmSync(directory);
    const open = new VifLocks(directory);
    chmodSync(directory, 0o777);
    expect(open.holder(SEVEN)).toBeUndefined();
    expect(() => new VifLocks(directory)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });
});
