/** Compiles lab/ into build/lab, for programs that run in the lab's dom0. The checkout must be ready (setup.mjs). */
import { spawnSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';

/** Ends the program when it fails. The working directory is the checkout. */
export function buildLab() {
  must(process.execPath, ['scripts/setup.mjs']);
  rmSync('build/lab', { recursive: true, force: true });
  must('node_modules/.bin/tsc', ['-p', 'lab/tsconfig.json']);
  // The compiler puts lib beside what imports it. Tested and measured is dist, which is what users run.
  rmSync('build/lab/lib', { recursive: true });
  symlinkSync('../../dist', 'build/lab/lib');
}

function must(command, args) {
  // Standard output is for results alone.
  const { status } = spawnSync(command, args, { stdio: ['inherit', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}
