import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('../../build/Release/xensim/xensim_test', import.meta.url));

test('the simulated hypervisor passes its own test program', { timeout: 180_000 }, () => {
  const result = spawnSync(program, { encoding: 'utf8', timeout: 170_000 });
  expect(result.error).toBeUndefined();
  expect(result.status, result.stdout).toBe(0);
  expect(result.stdout).toMatch(/[1-9]\d* passed, 0 failed\n$/);
});
