import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { scheduling } from '../../lib/workers/process-stat.js';
import { until } from '../../worlds/processes/until.js';

it('tells a process that runs from one that is stopped, and from one that is gone', async () => {
  const child = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  const pid = child.pid as number;
  const ranMs = () => scheduling(pid)?.ranMs ?? 0;
  try {
    const sinceMs = ranMs();
    expect(await until(() => ranMs() > sinceMs + 50, 20_000)).toBe(true);
    expect(scheduling(pid)?.isRunnable).toBe(true);
    child.kill('SIGSTOP');
    expect(await until(() => scheduling(pid)?.isRunnable === false, 20_000)).toBe(true);
    const stoppedMs = ranMs();
    expect(stoppedMs).toBeGreaterThan(50);
  } finally {
    child.kill('SIGKILL');
    await exit;
  }
  expect(scheduling(pid)).toBeUndefined();
});
