import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Deaths, oomKills } from '../../lib/workers/deaths.js';

it('deaths that are a minute apart are not counted together', async () => {
  const deaths = new Deaths(() => 0);
  for (const atMs of [0, 30_000, 60_000]) void deaths.add(atMs, Promise.resolve('SIGSEGV'));
  expect(deaths.areTooMany).toBe(false);
  void deaths.add(89_999, Promise.resolve('SIGSEGV'));
  expect(deaths.areTooMany).toBe(true);
  deaths.clear();
  expect(deaths.areTooMany).toBe(false);
});

it('a death counts as long as it is not known how the process ended', async () => {
  const deaths = new Deaths(() => 0);
  for (const how of ['SIGSEGV', 'code 1']) expect(await deaths.add(0, Promise.resolve(how))).toBe(true);
  const counts = deaths.add(0, Promise.resolve('SIGKILL'));
  expect(deaths.areTooMany).toBe(true);
  expect(await counts).toBe(false);
  expect(deaths.areTooMany).toBe(false);
});

it('the kernel counts what it killed for want of memory', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vifd-vmstat-'));
  const file = join(directory, 'vmstat');
  writeFileSync(file, 'thp_split 3\noom_kill 12\nnuma_hit 5\n');
  expect(oomKills(file)).toBe(12);
  writeFileSync(file, 'numa_hit 5\n');
  expect(oomKills(file)).toBe(0);
  expect(oomKills(join(directory, 'none'))).toBe(0);
  rmSync(directory, { recursive: true });
  expect(Number.isInteger(oomKills())).toBe(true);
});
