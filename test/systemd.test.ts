import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { OPTIONS } from '../lib/daemon/option-table.js';

const UNIT = 'systemd/vifd.service';
const absent = spawnSync('systemd-analyze', ['--version']).status !== 0;

describe('the systemd unit', () => {
  const unit = readFileSync(UNIT, 'utf8');
  const values = (key: string) =>
    [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((match) => match[1]);

  it.skipIf(absent).each(['vifd', 'xendriverdomain'])(
    `is valid: %s${absent ? ' (skipped: systemd-analyze is not here)' : ''}`,
    (name) => {
      const directory = mkdtempSync(join(tmpdir(), 'vifd-unit-'));
      const file = join(directory, `${name}.service`);
      const text = readFileSync(`systemd/${name}.service`, 'utf8');
      // The program need not be installed here.
      writeFileSync(file, text.replace(/^ExecStart=\S+ /m, `ExecStart=${process.execPath} `));
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
      rmSync(directory, { recursive: true });
      expect({ status, mine: stderr.split('\n').filter((line) => line.includes(name)) }).toEqual({
        status: 0,
        mine: [],
      });
    },
  );

  it('adds no pause of its own to a restart, and never gives up but for a wrong option', () => {
    expect(values('Restart')).toEqual(['always']);
    expect(values('RestartSec')).toEqual(['0']);
    expect(values('StartLimitIntervalSec')).toEqual(['0']);
    expect(values('RestartPreventExitStatus')).toEqual(['2']);
    // systemd 252, of Debian 12, does not know these.
    expect(unit).not.toMatch(/^Restart(Steps|MaxDelaySec)=/m);
  });

  it('allows what bounds the memory of waiting frames: CAP_BPF and the system call, which @system-service has not', () => {
    expect(values('CapabilityBoundingSet')).toEqual(['CAP_NET_ADMIN CAP_BPF']);
    expect(values('SystemCallFilter')).toEqual(['@system-service bpf seccomp']);
  });

  it('keeps the journals over restarts and stops, where `vifd run` has them', () => {
    expect(values('RuntimeDirectory')).toEqual(['vifd']);
    expect(values('RuntimeDirectoryPreserve')).toEqual(['yes']);
    expect(OPTIONS.journal.default?.()).toBe('/run/vifd');
  });

  it('lets vifd write its code cache, in a directory that systemd gives to root, where each start looks for it', () => {
    expect(values('CacheDirectory')).toEqual(['vifd']);
    expect(values('User')).toEqual([]);
    expect(readFileSync('lib/vifd.cts', 'utf8')).toContain("isRoot() ? '/var/cache/vifd' : undefined");
    // A mode that lets others write would have each start ignore it.
    expect(values('CacheDirectoryMode')).toEqual([]);
  });

  it('leaves workers to the next main process after a crash, and ends them after a stop', async () => {
    expect([values('KillMode'), values('OOMPolicy')]).toEqual([['process'], ['continue']]);
    const [, written = ''] = /^ExecStopPost=-\/bin\/sh -c '(.*?)'$/ms.exec(unit) ?? [];
    // As systemd reads it (systemd.service(5), "Command lines").
    const script = written.split('\\\n').join(' ').split('$$').join('$');
    const directory = mkdtempSync(join(tmpdir(), 'vifd-unit-'));
    const start = (word: string) => {
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', word], { stdio: 'ignore' });
      writeFileSync(join(directory, `worker-${child.pid}`), '');
      return child;
    };
    let worker = start('worker');
    // Has the number that a worker had which left its socket.
    const other = start('workers');
    const stateOf = (pid: number | undefined) =>
      spawnSync('ps', ['-o', 'stat=', '-p', `${pid}`], { encoding: 'utf8' }).stdout;
    const run = (SERVICE_RESULT: string, EXIT_STATUS: string) => {
      const env = { ...process.env, SERVICE_RESULT, EXIT_STATUS, RUNTIME_DIRECTORY: directory };
      const { status, stderr } = spawnSync('/bin/sh', ['-c', script], { env, encoding: 'utf8' });
      expect([status, stderr]).toEqual([0, '']);
      return stateOf(worker.pid);
    };
    // A crash, a hang, an error that restarts it, and a start that took too long.
    for (const [result, status] of [
      ['signal', 'SEGV'],
      ['watchdog', 'KILL'],
      ['exit-code', '1'],
      ['timeout', '0'],
    ] as const)
      expect([result, run(result, status)]).toEqual([result, expect.stringMatching(/^[SR]/)]);
    // A stop, one that took too long, and a wrong option.
    for (const [result, status] of [
      ['success', '0'],
      ['timeout', 'KILL'],
      ['exit-code', '2'],
    ] as const) {
      run(result, status);
      await once(worker, 'exit');
      expect([result, stateOf(other.pid)]).toEqual([result, expect.stringMatching(/^[SR]/)]);
      worker = start('worker');
    }
    worker.kill('SIGKILL');
    other.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  });
});
