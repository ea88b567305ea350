/**
 * Builds the native addon and the simulated Xen: npm's `install` script; with --required `npm run build:native`, and with --asan too `npm run
 * build:asan`. Needs no network and no home directory. cmake finds out if nothing has to be built, which takes 0.5 s.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** cmake-js itself looks for ninja first, then for make. */
const TOOLS = [
  { any: ['g++', 'clang++', 'c++'], apt: 'g++' },
  { any: ['cmake'], apt: 'cmake' },
  { any: ['ninja', 'make'], apt: 'make' },
];

/** @returns {string[]} the packages of missing tools. */
export function missingTools() {
  const present = (tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0;
  return TOOLS.filter(({ any }) => !any.some(present)).map(({ apt }) => apt);
}

/** An addon from the package (`npm pack` includes it) that this machine can load: dom0s have no compiler. */
function hasPackedAddon() {
  const file = `${root}build/Release/vifd.node`;
  if (existsSync(`${root}build/cmake`) || !existsSync(file)) return false;
  try {
    createRequire(import.meta.url)(file);
    return true;
  } catch {
    return false;
  }
}

/** An optional dependency, so that installing without a network works. */
function findCmakeJs() {
  try {
    return createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  } catch {
    return undefined;
  }
}

/** Deletes a build folder that was copied with its checkout: cmake would build the original checkout with it, and end with 0. */
export function forgetOtherCheckout(folder, source = root) {
  const cache = `${folder}/CMakeCache.txt`;
  if (!existsSync(cache)) return;
  const [, home] = readFileSync(cache, 'utf8').match(/^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m) ?? [];
  if (home === undefined || resolve(home) !== resolve(source)) rmSync(folder, { recursive: true });
}

/** For each kind of build: cmake's folder, and more options for cmake-js. */
const PLAIN = { folder: 'build/cmake', options: [] };
const SANITIZED = {
  folder: 'build/cmake-asan',
  options: ['--debug', '--CDVIFD_SANITIZE=address,undefined'],
};

/** @returns {string | undefined} why it could not be built: one line, or a line and the compiler's output. */
export function buildNative({ folder, options } = PLAIN) {
  if (folder === PLAIN.folder && hasPackedAddon()) return undefined;
  const missing = missingTools();
  if (missing.length > 0) {
    return (
      `vifd: the native addon is not built, since ${missing.join(', ')} cannot be found: ` +
      '`apt-get install -y g++ cmake make && npm run build:native`. The pure-TypeScript model works without it.'
    );
  }
  const cmakeJs = findCmakeJs();
  if (cmakeJs === undefined) {
    return (
      'vifd: the native addon that came with the package cannot be loaded here, and cmake-js, which would build another, ' +
      'was not installed: install with a network, or pack on a machine with this architecture and C library.'
    );
  }
  forgetOtherCheckout(`${root}${folder}`);
  const args = [cmakeJs, 'compile', ...options, '--directory', root, '--out', `${root}${folder}`];
  const built = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (built.status === 0) return undefined;
  const output = `${built.stdout ?? ''}${built.stderr ?? ''}${built.error ?? ''}`;
  return `${output}\nvifd: the native addon could not be built; the output is above. The pure-TypeScript model works without it.`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const failure = buildNative(process.argv.includes('--asan') ? SANITIZED : PLAIN);
  if (failure !== undefined) {
    console.error(failure);
    // An install must not fail if there is no compiler, but a build with --required must.
    process.exitCode = process.argv.includes('--required') ? 1 : 0;
  }
}
