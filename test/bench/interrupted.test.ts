import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { missingTool, refusedNamespaces } from '../../programs/namespaces.js';
import { until } from '../../worlds/processes/until.js';

const built = existsSync('dist/vifd.cjs') && existsSync('build/Release/xensim');
const missing = built ? (missingTool() ?? refusedNamespaces('run as root')) : 'needs `npm run build`';
const START_MS = 60_000;

describe.skipIf(missing)('a bench with workers that is interrupted', () => {
  /** In the environment of all its processes. */
  const mark = `${process.pid}`;
  let program: string;
  let bench: ChildProcess | undefined;

  const processes = (word: string) =>
    readdirSync('/proc').filter(
      (name) => /^\d+$/.test(name) && hasWords(name, `VIFD_TEST_MARK=${mark}`, word),
    );

  beforeAll(async () => {
    const { buildPrograms } = await import(`${process.cwd()}/scripts/build-programs.mjs`);
    program = `${buildPrograms('bench')}gap/main.js`;
  }, 120_000);

  afterEach(() => {
    bench?.kill('SIGKILL');
    for (const pid of processes('')) process.kill(Number(pid), 'SIGKILL');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'leaves no process behind by %s',
    { timeout: 120_000 },
    async (signal) => {
      const args = [program, '--workers', '--vifs', '1', '--death', 'SIGKILL', '--kills', '1000'];
      bench = spawn(process.execPath, args, {
        env: { ...process.env, VIFD_TEST_MARK: mark },
        stdio: 'ignore',
      });
      const exit = once(bench, 'exit');
      expect(await until(() => processes('worker').length >= 2, START_MS)).toBe(true);
      bench.kill(signal);
      const [code] = await exit;
      expect(code).not.toBe(0);
      expect(processes('')).toEqual([]);
    },
  );
});

/** Whether a process that runs has this in its environment, and this word in its command if it is not empty. */
function hasWords(pid: string, variable: string, word: string): boolean {
  try {
    const [environment, command] = ['environ', 'cmdline'].map((file) =>
      readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0'),
    );
    return environment.includes(variable) && (word === '' || command.includes(word));
  } catch {
    // It is gone.
    return false;
  }
}
