import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { anonymousBytes, raiseOomScore } from '../../lib/host/process-memory.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vifd-memory-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

it('counts what a process has written, also what was swapped out', () => {
  const before = anonymousBytes(process.pid)!;
  const memory = Buffer.alloc(64 << 20, 1);
  expect((anonymousBytes(process.pid)! - before) >> 20).toBeGreaterThan(56);
  expect(memory.length >> 20).toBe(64);
  const status = (text: string) => {
    mkdirSync(`${directory}/7`, { recursive: true });
    writeFileSync(`${directory}/7/status`, `Name:\tRssAnon: 9 kB\n${text}`);
    return anonymousBytes(7, directory);
  };
  expect(status('RssAnon:\t   10 kB\nRssFile:\t 400 kB\nVmSwap:\t  2 kB\n')).toBe(12 << 10);
  expect(status('State:\tZ (zombie)\n')).toBeUndefined();
});

it('is undefined for a process that is gone', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  expect(anonymousBytes(child.pid!)).toBeUndefined();
});

it('raises the score by which the kernel chooses what to kill, up to its end', () => {
  const path = join(directory, 'oom_score_adj');
  writeFileSync(path, '-900\n');
  raiseOomScore(100, path);
  expect(readFileSync(path, 'utf8')).toBe('-800');
  raiseOomScore(3000, path);
  expect(readFileSync(path, 'utf8')).toBe('1000');
  expect(() => raiseOomScore(1, join(directory, 'none'))).toThrow(/ENOENT/);
});
