// Compiles the folder frames/ into build/frames, beside the compiled vifd that users run.
import { spawnSync } from 'node:child_process';
import { copyFileSync, rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Compiles the table. @returns the path of the program to run. Ends the process if the compiler fails. */
export function buildFrames() {
  rmSync(`${root}build/frames`, { recursive: true, force: true });
  const args = ['-p', 'frames/tsconfig.json'];
  // Standard output is for the result alone: it may be JSON.
  const { status } = spawnSync('node_modules/.bin/tsc', args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
  // The compiler puts lib beside what imports it. What runs is dist, which is what users run.
  rmSync(`${root}build/frames/lib`, { recursive: true });
  symlinkSync('../../dist', `${root}build/frames/lib`);
  copyFileSync(
    `${root}frames/references/build_frames.py`,
    `${root}build/frames/frames/references/build_frames.py`,
  );
  return `${root}build/frames/frames/main.js`;
}
