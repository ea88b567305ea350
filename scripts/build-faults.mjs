// Compiles the folder faults/ into build/faults, beside the compiled vifd that users run.
import { spawnSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The program to run, as a file URL's path. Ends the process when it cannot be compiled. */
export function buildFaults() {
  rmSync(`${root}build/faults`, { recursive: true, force: true });
  const args = ['-p', 'faults/tsconfig.json'];
  // Standard output is for the result alone: it may be JSON.
  const { status } = spawnSync('node_modules/.bin/tsc', args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
  // The compiler puts lib beside what imports it. What runs is dist, which is what users run.
  rmSync(`${root}build/faults/lib`, { recursive: true });
  symlinkSync('../../dist', `${root}build/faults/lib`);
  return `${root}build/faults/faults/main.js`;
}
