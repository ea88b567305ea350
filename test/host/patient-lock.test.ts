import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask } from '../../lib/daemon/query.js';
import { queryService } from '../../lib/daemon/query-service.js';
import { runLockHolder } from '../../lib/host/run-lock.js';
import type { Netback } from '../../lib/netback/netback.js';
import { PatientLock } from '../../lib/runtime/patient-lock.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import type { Clock } from '../../lib/xen/seam.js';
import { whyNoAddon } from '../native/reason.js';

const MODULE = new URL('../../dist/host/run-lock.js', import.meta.url).href;

/** Longer than the interval between two tries, and than the first second of a process, in which it accepts no queries. */
const PATIENCE = { timeout: 4000 };

describe.skipIf(whyNoAddon())('what a running vifd has in its runtime directory', () => {
  let directory: string;
  const heard: string[] = [];
  const log = {
    error: ({ message }: Error) => void heard.push(message),
    mended: ({ message }: Error) => void heard.push(`mended: ${message}`),
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-patient-'));
    heard.length = 0;
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('is made again when the directory is deleted, which is reported once', async () => {
    using lock = new PatientLock(directory, systemClock, log);
    const netback = { vifs: new Map(), faults: [] } as unknown as Netback;
    await using _queries = queryService(directory, netback, lock, log);
    const asked = () => ask(directory, { ask: 'show' }).catch(() => undefined);
    await expect.poll(asked, PATIENCE).toEqual({ faults: [], vifs: [] });
    rmSync(directory, { recursive: true });
    expect(lock.stands).toBe(false);
    await expect.poll(() => heard.filter((text) => text.startsWith('mended')).length, PATIENCE).toBe(2);
    expect(lock.stands).toBe(true);
    expect(runLockHolder(directory)).toBe(process.pid);
    expect(await asked()).toEqual({ faults: [], vifs: [] });
    for (const what of ['run lock .*', 'socket .*'])
      expect(heard.filter((text) => new RegExp(`^The ${what} was deleted`).test(text))).toHaveLength(1);
    expect(heard).toHaveLength(4);
  });

  it('is not fought for where another vifd took it meanwhile, and is had again when that ends', async () => {
    let due: (() => void)[] = [];
    const clock: Clock = {
      now: () => 0,
      after: (_ms, fire) => {
        due.push(fire);
        return {
          [Symbol.dispose]: () => {
            due = due.filter((one) => one !== fire);
          },
        };
      },
    };
    const pass = () => {
      for (const fire of due.splice(0)) fire();
    };
    using lock = new PatientLock(directory, clock, log);
    rmSync(join(directory, 'lock'));
    const program = `import { takeRunLock } from '${MODULE}'; takeRunLock('${directory}'); console.log('has it'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    for (let i = 0; i < 4; i++) pass();
    expect(lock.stands).toBe(false);
    expect(heard).toEqual([
      expect.stringMatching(/^The run lock .* was deleted/),
      expect.stringMatching(`^Another vifd \\(process ${child.pid}\\)`),
    ]);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    pass();
    expect(lock.stands).toBe(true);
    await expect.poll(() => heard.slice(2)).toEqual([expect.stringMatching(/^mended: Another vifd/)]);
  });
});
