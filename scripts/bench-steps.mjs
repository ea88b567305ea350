/**
 * `npm run bench -- steps`: builds each commit of scripts/bench/steps.mjs in a worktree, and runs their native benchmarks in turns, in many
 * processes. Each process measures TypeScript and C++ in turns, so a figure is a ratio of one process. Writes the table into
 * docs/performance.md with --write-docs.
 */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { STEPS_PROGRAM } from './bench/programs.mjs';
import { BASE, STEPS } from './bench/steps.mjs';
import { parseOrExit } from './options.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const PAGE = `${root}docs/performance.md`;
const [BEGIN, END] = ['<!-- begin bench steps -->', '<!-- end bench steps -->'];
const ROWS = ['from-guest 60 B', 'to-guest 60 B'];
const BATCHES = [1, 16, 64];
/** As bench/effort.ts, shorter. */
const EFFORT = { rounds: 21, roundMs: 0.5, warmUpMs: 350, garbageMs: 0 };
const ROUNDS = 7;

const values = parseOrExit(STEPS_PROGRAM, process.argv.slice(2));
const rounds = Number(values.rounds ?? ROUNDS);
const folder = `${root}build/steps`;

function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  process.stderr.write(
    `${STEPS_PROGRAM.command}: '${command} ${args.join(' ')}' in ${cwd} ended with ${status}\n`,
  );
  process.exit(1);
}

const BUILD_NATIVE = `import('./scripts/build-native.mjs').then(({ buildNative }) => {
  const failure = buildNative();
  if (failure !== undefined) throw new Error(failure);
})`;

/** What the addon and the C++ loop are built from. */
const NATIVE = ['native', 'bench/native', 'CMakeLists.txt', 'binding.gyp', 'scripts/build-native.mjs'];

function hasSameNative(commit, other) {
  return spawnSync('git', ['diff', '--quiet', commit, other, '--', ...NATIVE], { cwd: root }).status === 0;
}

/**
 * Returns a commit's worktree, which has its own dist and benchmarks, and its own build of the addon unless that of `before` is the same.
 * @param before the commit before it in the list.
 */
function build(commit, before) {
  const path = `${folder}/${commit}`;
  if (existsSync(`${path}/build/bench`)) return path;
  mkdirSync(folder, { recursive: true });
  if (!existsSync(path)) run('git', ['worktree', 'add', '--quiet', '--detach', path, commit], root);
  if (!existsSync(`${path}/node_modules`)) symlinkSync(`${root}node_modules`, `${path}/node_modules`);
  const isSame = before !== undefined && hasSameNative(commit, before);
  if (isSame) cpSync(`${folder}/${before}/build/Release`, `${path}/build/Release`, { recursive: true });
  // Not scripts/setup.mjs, whose `npm ci` would empty the folder of packages that all worktrees share.
  else run(process.execPath, ['-e', BUILD_NATIVE], path);
  run('node_modules/.bin/tsc', ['-p', 'tsconfig.json'], path);
  const programs = "import('./scripts/build-programs.mjs').then((m) => m.buildPrograms('bench'))";
  run(process.execPath, ['-e', programs], path);
  return path;
}

/** @returns by row and batch, the median ratio of one process. */
function measure(path, only) {
  const job = JSON.stringify({ subject: 'native', effort: EFFORT, only });
  const child = spawn(process.execPath, [`${path}/build/bench/bench/main.js`, '--job', job], {
    cwd: path,
    stdio: ['ignore', 2, 2, 'ipc'],
  });
  return new Promise((resolve, reject) => {
    let found;
    child.on('message', (message) => {
      found = message;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (found === undefined) return reject(new Error(`the benchmark of ${path} ended with ${code}`));
      resolve(found.map(({ direction, batch, samples }) => [direction, batch, median(ratiosOf(samples))]));
    });
  });
}

function ratiosOf({ native, cxx }) {
  return native.map((ns, round) => ns / cxx[round]);
}

function median(of) {
  const sorted = [...of].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const all = [{ commit: BASE, what: 'before' }, ...STEPS];
const paths = all.map(({ commit }, step) => build(commit, all[step - 1]?.commit));
/** By commit, by row and batch: a ratio of each process. */
const ratios = all.map(() => new Map());
for (let round = 0; round < rounds; round++) {
  // There and back, so that no commit always follows the same other one.
  const order = round % 2 === 0 ? all.keys() : [...all.keys()].reverse();
  for (const step of order) {
    process.stderr.write(`bench: round ${round + 1} of ${rounds}, ${all[step].commit}\n`);
    for (const only of ROWS) {
      for (const [direction, batch, ratio] of await measure(paths[step], only)) {
        const key = `${direction} ${batch}`;
        ratios[step].set(key, [...(ratios[step].get(key) ?? []), ratio]);
      }
    }
  }
}

const keys = ['from-guest', 'to-guest'].flatMap((direction) =>
  BATCHES.map((batch) => `${direction} ${batch}`),
);
const rows = all.map(({ commit, what }, step) => {
  const cells = keys.map((key) => median(ratios[step].get(key)).toFixed(2));
  return `| ${what} | ${commit} | ${cells.join(' | ')} |`;
});
const head = keys.map((key) => key.replace('-guest', '')).join(' | ');
const table = `Generated by \`npm run bench -- steps --write-docs\`; do not edit. Time of a frame of 60 bytes, C++ = 1.0: the median of ${rounds} processes of
each commit, in turns. ${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${availableParallelism()} x ${cpus()[0].model.trim()}. The columns are directions and
batches: from the guest and to it, 1, 16 and 64 frames.

| step | commit | ${head} |
| --- | --- | ${keys.map(() => '---:').join(' | ')} |
${rows.join('\n')}`;
process.stdout.write(`${table}\n`);
if (values['write-docs']) {
  const page = readFileSync(PAGE, 'utf8');
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) {
    process.stderr.write(`${PAGE} has no lines ${BEGIN} and ${END}: put them back\n`);
    process.exit(1);
  }
  writeFileSync(PAGE, `${page.slice(0, from + BEGIN.length)}\n\n${table}\n\n${page.slice(to)}`);
}
