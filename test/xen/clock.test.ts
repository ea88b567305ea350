import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

/** In a process of its own: the test runner's would wake the loop. The second timer ends its sleep if the turn does not. */
const PROGRAM = `
  import { systemClock } from './dist/xen/native/clock.js';
  setTimeout(() => {
    const began = systemClock.now();
    systemClock.after(0, () => console.log(systemClock.now() - began));
    setTimeout(() => {}, 2000);
  }, 10);
`;

it('the next turn comes at once, though nothing else wakes the event loop', () => {
  const waitedMs = execFileSync(process.execPath, ['--input-type=module', '-e', PROGRAM], {
    encoding: 'utf8',
  });
  expect(Number(waitedMs)).toBeLessThan(1500);
}, 30_000);
