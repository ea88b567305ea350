/**
 * `npm run test:xen [-- --only TEXT] [--long]`: vifd on a real Xen, tested in the lab (lab/README.md). Ends with a line of
 * counts; on a machine that cannot run the lab every test is skipped, with the reason. --long: 100 random kills, not 8.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { buildLab } from './build-lab.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const EXIT_SKIPPED = 77;
const BOOTS = [
  { name: 'alone', what: 'xen-netback is absent', options: ['--no-netback'], seconds: 2400 },
  { name: 'beside', what: 'xen-netback is there', options: [], seconds: 1200 },
  { name: 'systemd', what: 'dom0 runs systemd', options: ['--no-netback', '--systemd'], seconds: 1500 },
];

buildLab();

const main = 'build/lab/lab/tests/main.js';
const onlyAt = process.argv.indexOf('--only');
const only = onlyAt < 0 ? '' : (process.argv[onlyAt + 1] ?? '');
const listed = spawnSync(process.execPath, [main, 'list', only], { encoding: 'utf8' });
if (listed.status !== 0) throw new Error(listed.stderr);
const tests = JSON.parse(listed.stdout);
const long = process.argv.includes('--long');
/** What 100 kills take beyond the few of an ordinary run. */
const LONG_SECONDS = 1800;

/** build/lab/vifd.tgz, which a dom0 installs. Its name has no version. */
function pack() {
  const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', 'build/lab'];
  const { status, stdout } = spawnSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 2] });
  if (status !== 0) process.exit(status ?? 1);
  renameSync(`build/lab/${stdout.trim()}`, 'build/lab/vifd.tgz');
}

/** @returns one result for each test of the boot, whatever becomes of the machine. */
async function run(boot, mine) {
  const out = mkdtempSync(`${tmpdir()}/vifd-xen-`);
  const command = [
    'node',
    main,
    'run',
    boot.name,
    ...(only === '' ? [] : [only]),
    ...(long ? ['--long'] : []),
  ];
  const seconds = boot.seconds + (long ? LONG_SECONDS : 0);
  const lab = spawn(
    'lab/lab.sh',
    ['--out', out, '--timeout', `${seconds}`, ...boot.options, '--', ...command],
    {
      stdio: ['ignore', 'inherit', 'pipe'],
    },
  );
  let said = '';
  lab.stderr.on('data', (chunk) => {
    said += chunk;
    process.stderr.write(chunk);
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => lab.kill('SIGTERM'));
  const code = await new Promise((resolve) => lab.on('close', resolve));
  if (code === EXIT_SKIPPED) {
    const reason = said.match(/skipped: (.*)/)?.[1] ?? 'no reason given';
    return mine.map(({ name }) => ({ name, outcome: 'skipped', reason }));
  }
  const results = existsSync(`${out}/results.json`)
    ? JSON.parse(readFileSync(`${out}/results.json`, 'utf8'))
    : [];
  if (results.every(({ outcome }) => outcome !== 'failed') && code === 0) rmSync(out, { recursive: true });
  else console.log(`the logs of this boot are in ${out}/lab`);
  return mine.map(
    ({ name }) =>
      results.find((result) => result.name === name) ?? { name, outcome: 'failed', reason: `lab: ${code}` },
  );
}

const results = [];
for (const boot of BOOTS) {
  const mine = tests.filter((test) => test.boot === boot.name);
  if (mine.length === 0) continue;
  if (boot.name === 'systemd') pack();
  console.log(`boot: ${boot.what}, ${mine.length} tests`);
  results.push(...(await run(boot, mine)));
}

const count = (outcome) => results.filter((result) => result.outcome === outcome).length;
for (const { name, outcome, reason } of results) {
  if (outcome === 'skipped') console.log(`skipped: ${name}: ${reason}`);
}
console.log(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`);
process.exit(count('failed') === 0 ? 0 : 1);
