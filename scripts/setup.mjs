/**
 * Makes a checkout ready to run: dependencies, native addon, compiled TypeScript, each only if it is out of date. Tests, demo and benchmarks
 * call it first, so that each of them is one command on a fresh clone.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function modified(file) {
  return existsSync(`${root}${file}`) ? statSync(`${root}${file}`).mtimeMs : undefined;
}

function install() {
  // The addon is built below, where its output can be checked.
  const options = ['--ignore-scripts', '--no-audit', '--no-fund'];
  const strict = spawnSync('npm', ['ci', ...options], { cwd: root, encoding: 'utf8' });
  if (strict.status === 0) return;
  // `npm ci` refuses a lock file that lacks optional packages of other platforms, as one has that was written with a registry that lacked
  // some. Then this installs the versions that the file names all the same.
  run('npm', ['install', '--no-save', ...options]);
}

function run(command, args) {
  const done = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (done.status === 0) return;
  console.error(
    `vifd: \`${[command, ...args].join(' ')}\` failed${done.error ? `: ${done.error.message}` : ''}.`,
  );
  process.exit(done.status ?? 1);
}

const installed = modified('node_modules/.package-lock.json');
if (installed === undefined || installed < (modified('package-lock.json') ?? 0)) install();

// Imported only here, because cmake-js is one of the dependencies.
const { buildNative } = await import(pathToFileURL(`${root}scripts/build-native.mjs`).href);
const failure = buildNative();
if (failure !== undefined) console.error(failure);

run(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', 'tsconfig.json']);
run(process.execPath, [`${root}scripts/bundle.mjs`]);
