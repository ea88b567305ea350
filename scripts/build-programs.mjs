// Compiles a folder of programs (demo, sim, bench, faults, frames, lab) into build/NAME, beside the compiled vifd that users run.
import { spawnSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * @param {string} name of the folder, which has a tsconfig.json of its own.
 * @returns {string} the folder of the compiled programs. Ends the process if the compiler fails.
 */
export function buildPrograms(name) {
  const built = `${root}build/${name}`;
  rmSync(built, { recursive: true, force: true });
  // The compiler writes to stderr, because stdout is for the program's result, which may be JSON.
  const { status } = spawnSync('node_modules/.bin/tsc', ['-p', `${name}/tsconfig.json`], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) process.exit(status ?? 1);
  // The compiler puts lib beside the files that import it. The programs run dist instead, as users do.
  rmSync(`${built}/lib`, { recursive: true });
  symlinkSync('../../dist', `${built}/lib`);
  return `${built}/${name}/`;
}

/** Makes the checkout ready, and compiles the folder. @returns as `buildPrograms`. */
export function setUpPrograms(name) {
  const { status } = spawnSync(process.execPath, [`${root}scripts/setup.mjs`], { stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
  return buildPrograms(name);
}
