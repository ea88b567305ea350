/** Compiles lab/ into build/lab, for programs that run in the lab's dom0. The checkout must be ready (setup.mjs). */
import { spawnSync } from 'node:child_process';
import { renameSync, rmSync, symlinkSync } from 'node:fs';

/** Ends the program when it fails. The working directory is the checkout. */
export function buildLab() {
  must(process.execPath, ['scripts/setup.mjs']);
  rmSync('build/lab', { recursive: true, force: true });
  must('node_modules/.bin/tsc', ['-p', 'lab/tsconfig.json']);
  // The compiler puts lib beside what imports it. Tested and measured is dist, which is what users run.
  rmSync('build/lab/lib', { recursive: true });
  symlinkSync('../../dist', 'build/lab/lib');
}

/** Makes build/lab/vifd.tgz, which a dom0 installs as a user's does. Its name has no version. Ends the program when it fails. */
export function pack() {
  const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', 'build/lab'];
  const { status, stdout } = spawnSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 2] });
  if (status !== 0) process.exit(status ?? 1);
  renameSync(`build/lab/${stdout.trim()}`, 'build/lab/vifd.tgz');
}

function must(command, args) {
  // Standard output is for results alone.
  const { status } = spawnSync(command, args, { stdio: ['inherit', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}
