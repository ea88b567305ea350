/**
 * `npm run bench:start -- [--starts N] [--write-docs] [VERSION ...]`: how much processor time a start of `vifd run` takes with a code cache
 * that fits, with one that V8 rejects, and without one, beside Node alone; by the Node that runs this, or by others from the npm registry.
 * A start ends where it finds no Xen: by then Node, the bundle and the addon are loaded. --write-docs: writes the table into docs/daemon.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fetchNode, NodeUnavailable } from './node-package.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const HOOK = fileURLToPath(new URL('bench-start/print-cpu.cjs', import.meta.url));
const DOCUMENT = `${root}docs/daemon.md`;
const TABLE = /(<!-- begin bench:start -->\n)[\s\S]*?(<!-- end bench:start -->)/;
/** Before V8's code in a file of the cache (lib/vifd.cts), and of the version's hash in V8's own header. */
const HEADER_BYTES = 8;
const VERSION_OFFSET = 4;

const { values: options, positionals: versions } = parseArgs({
  allowPositionals: true,
  options: { starts: { type: 'string', default: '20' }, 'write-docs': { type: 'boolean', default: false } },
});
const starts = Number(options.starts);
if (!(Number.isInteger(starts) && starts > 0)) fail('--starts must be a whole number above 0.');

const nodes =
  versions.length === 0
    ? [{ version: process.versions.node, program: process.execPath }]
    : versions.map(fetched);
const before = loadavg()[0];
const rows = nodes.map(measure);
const machine =
  `(Median of ${starts} starts each, in turns, on ${cpus().length} x ${cpus()[0].model}, Linux ${release()}; ` +
  `load average ${before.toFixed(1)} before the run. \`npm run bench:start -- ${nodes.map(({ version }) => version.split('.')[0]).join(' ')}\`)`;
const table = [
  '| processor time of a start, ms | Node alone | cache that fits | cache that V8 rejects | no cache |',
  '| --- | --- | --- | --- | --- |',
  ...rows,
  '',
  machine,
].join('\n');
console.log(table);
if (options['write-docs']) {
  const text = readFileSync(DOCUMENT, 'utf8');
  if (!TABLE.test(text)) fail('docs/daemon.md has no place for the table.');
  writeFileSync(
    DOCUMENT,
    text.replace(TABLE, (_, begin, end) => `${begin}\n${table}\n\n${end}`),
  );
}

function fetched(version) {
  try {
    const node = fetchNode(version);
    return { version: node.version, program: `${node.bin}/node` };
  } catch (error) {
    if (!(error instanceof NodeUnavailable)) throw error;
    return fail(error.message);
  }
}

/** @returns a row of the table. */
function measure({ version, program }) {
  const base = mkdtempSync(join(tmpdir(), 'vifd-start-'));
  try {
    const caches = {
      fitting: join(base, 'fitting'),
      rejected: join(base, 'rejected'),
      none: join(base, 'none'),
    };
    // With the options of the measured starts: a cache belongs to them too.
    node(program, caches.fitting, `${root}scripts/code-cache.mjs`);
    makeRejected(caches);
    const times = { alone: [], fitting: [], rejected: [], none: [] };
    for (let start = 0; start < starts; start++) {
      times.alone.push(Number(node(program, caches.none, HOOK)));
      for (const [name, cache] of Object.entries(caches)) times[name].push(startMs(program, cache));
    }
    if (readdirSync(base).includes('none')) fail('a start without a cache has written one.');
    const columns = ['alone', 'fitting', 'rejected', 'none'].map((name) => median(times[name]).toFixed(0));
    return `| Node ${version} | ${columns.join(' | ')} |`;
  } finally {
    rmSync(base, { recursive: true });
  }
}

/** As another version of V8 would have left it. */
function makeRejected({ fitting, rejected }) {
  mkdirSync(rejected);
  for (const name of readdirSync(fitting)) {
    const bytes = readFileSync(join(fitting, name));
    const at = HEADER_BYTES + VERSION_OFFSET;
    bytes.writeUInt32LE((bytes.readUInt32LE(at) ^ 1) >>> 0, at);
    writeFileSync(join(rejected, name), bytes);
  }
  if (readdirSync(rejected).length === 0)
    fail('no code cache could be made: run as root, or own the folder for temporary files.');
}

function startMs(program, cache) {
  return Number(
    node(program, cache, `${root}dist/vifd.cjs`, 'run', '--no-journal', '--libraries', '/nowhere'),
  );
}

/** @returns what the process prints: its processor time. */
function node(program, cache, ...args) {
  const { NODE_EXTRA_CA_CERTS: _certificates, NODE_OPTIONS: _options, ...others } = process.env;
  const env = { ...others, VIFD_CODE_CACHE: cache };
  const { stdout, stderr } = spawnSync(program, ['--require', HOOK, ...args], { encoding: 'utf8', env });
  if (!/^[\d.]+\n$/.test(stdout)) fail(`${dirname(program)}: ${stderr}`);
  return stdout;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

function fail(message) {
  console.error(`bench:start: ${message}`);
  process.exit(1);
}
