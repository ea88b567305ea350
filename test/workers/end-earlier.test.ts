/** Workers that are left without a supervisor and without a socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventLog } from '../../lib/daemon/run-log.js';
import { VifLocks } from '../../lib/host/vif-locks.js';
import { endEarlier } from '../../lib/workers/end-earlier.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import type { Clock } from '../../lib/xen/seam.js';
import { until } from '../../worlds/processes/until.js';
import { whyNoAddon } from '../native/reason.js';

const LOCKS = new URL('../../dist/host/vif-locks.js', import.meta.url).href;
const VIF = { id: 'vif7.0', domid: 7, handle: 0 };
const missing = whyNoAddon() ?? (existsSync(new URL(LOCKS)) ? undefined : 'no build');

describe.skipIf(missing)('a worker whose socket is gone', () => {
  let directory: string;
  let child: ChildProcess;
  const lines: string[] = [];
  const fast: Clock = {
    now: () => systemClock.now(),
    after: (ms, fire) => systemClock.after(ms / 100, fire),
  };

  /** A process that has the lock of a vif. @param atTerm what it does at SIGTERM. */
  const start = async (atTerm: string) => {
    const program = `(async () => {
      const { VifLocks } = await import(${JSON.stringify(LOCKS)});
      process.on('SIGTERM', () => { ${atTerm} });
      new VifLocks(${JSON.stringify(directory)}).take(${JSON.stringify(VIF)});
      setInterval(() => {}, 1000);
    })()`;
    child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit'] });
    const locks = new VifLocks(directory);
    expect(await until(() => locks.holder(VIF) === child.pid, 20_000)).toBe(true);
  };
  const end = async (clock: Clock) => {
    using log = eventLog({
      json: false,
      output: { line: (text) => void lines.push(text), [Symbol.dispose]: () => {} },
    });
    await endEarlier({ directory, domid: 0, clock, log });
  };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-left-'));
    lines.length = 0;
  });
  afterEach(() => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  });

  it.each([
    ['detaches and ends', 'process.exit(7);', 7, systemClock],
    ['is killed if it does not end', '', 'SIGKILL', fast],
  ] as const)(
    '%s before another process serves its vifs, and is reported',
    async (_what, atTerm, how, clock) => {
      await start(atTerm);
      const exited = once(child, 'exit');
      await end(clock);
      expect((await exited).find((one) => one !== null)).toBe(how);
      expect(lines).toEqual([
        expect.stringMatching(/^The worker \d+ of an earlier vifd serves vifs, and its socket is/),
      ]);
      expect(new VifLocks(directory).anyHolder()).toBeUndefined();
    },
  );
});
