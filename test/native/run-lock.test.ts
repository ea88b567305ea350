import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runLockHolder, takeRunLock } from '../../lib/host/run-lock.js';
import { whyNoAddon } from './reason.js';

const MODULE = new URL('../../dist/host/run-lock.js', import.meta.url).href;

describe.skipIf(whyNoAddon())('a runtime directory', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-lock-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('has no holder at first, and where there is no lock', () => {
    expect(runLockHolder(directory)).toBeUndefined();
    expect(runLockHolder(join(directory, 'nowhere'))).toBeUndefined();
  });

  it('is made, and taken until it is given back', () => {
    const below = join(directory, 'run');
    const lock = takeRunLock(below);
    expect(runLockHolder(below)).toBe(process.pid);
    expect(() => takeRunLock(below)).toThrow(/Another vifd \(process \d+\) serves from/);
    // Asking must not end the lock, as closing a descriptor of a locked file does.
    expect(runLockHolder(below)).toBe(process.pid);
    lock[Symbol.dispose]();
    expect(runLockHolder(below)).toBeUndefined();
  });

  it('is another process’s until that is killed', async () => {
    const program = `import { takeRunLock } from '${MODULE}'; takeRunLock('${directory}'); console.log('has it'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(runLockHolder(directory)).toBe(child.pid);
    expect(() => takeRunLock(directory)).toThrow(
      expect.objectContaining({ code: 'ERR_RUNNING', message: expect.stringContaining(`${child.pid}`) }),
    );
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    expect(runLockHolder(directory)).toBeUndefined();
    takeRunLock(directory)[Symbol.dispose]();
  });

  it('is free when its lock was deleted, and can be taken again', () => {
    const lock = takeRunLock(directory);
    expect(lock.stands).toBe(true);
    rmSync(join(directory, 'lock'));
    expect(lock.stands).toBe(false);
    expect(runLockHolder(directory)).toBeUndefined();
    writeFileSync(join(directory, 'lock'), '');
    expect(lock.stands).toBe(false);
    const again = takeRunLock(directory);
    expect(again.stands).toBe(true);
    expect(runLockHolder(directory)).toBe(process.pid);
    again[Symbol.dispose]();
    expect(runLockHolder(directory)).toBeUndefined();
  });

  it('that is a file is refused', () => {
    writeFileSync(join(directory, 'file'), '');
    expect(() => takeRunLock(join(directory, 'file'))).toThrow(
      expect.objectContaining({ code: 'ERR_JOURNAL', errno: 'EEXIST' }),
    );
  });
});
