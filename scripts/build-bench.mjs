// Compiles the folder bench/ into build/bench, beside the compiled vifd that users run.
import { spawnSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** @returns the folder of the compiled programs. Ends the process when they cannot be compiled. */
export function buildBench() {
  rmSync(`${root}build/bench`, { recursive: true, force: true });
  const args = ['-p', 'bench/tsconfig.json'];
  // The compiler writes to stderr: stdout is for the bench's result, which may be JSON.
  const { status } = spawnSync('node_modules/.bin/tsc', args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
  // The compiler puts lib beside what imports it. Measured is dist, which is what users run.
  rmSync(`${root}build/bench/lib`, { recursive: true });
  symlinkSync('../../dist', `${root}build/bench/lib`);
  return `${root}build/bench/bench/`;
}
