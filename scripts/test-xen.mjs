/**
 * `npm run test:xen [-- --only TEXT] [--boot NAME] [--minutes N] [--rotate] [--record] [--long] [--again]`: vifd on a real Xen, in the lab
 * (lab/README.md). Ends with a line of counts. On a machine that cannot run the lab every test is skipped, with the reason, and so are tests
 * that would not end within N minutes. --rotate: runs a fixed core, and of the others those that were not green for the longest, as many as N
 * minutes have room for; the rest is listed and not counted. --record: writes into lab/tests/last-green.json, to be committed, which tests
 * passed. --long: 100 random kills, not 8, and 50 of workers. --again: runs failed tests once more, in a boot of their own, and counts those as
 * passed that pass then.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { setUpPrograms } from './build-programs.mjs';
import { oneOf, parseOrExit } from './options.mjs';
import { pack } from './pack-lab.mjs';

const BOOT_NAMES = ['alone', 'beside', 'systemd', 'driver-domain', 'speed'];
const options = {
  only: '',
  minutes: 'Infinity',
  ...parseOrExit(
    {
      command: 'npm run test:xen',
      about:
        'Tests vifd on a real Xen in an emulator, with the standard toolstack and Linux guests (lab/README.md).',
      options: [
        { name: 'only', value: 'TEXT', about: 'only tests whose name has it' },
        {
          name: 'boot',
          value: 'NAME',
          about: `only tests of that boot: ${BOOT_NAMES.join(', ')}`,
          check: oneOf(...BOOT_NAMES),
        },
        {
          name: 'minutes',
          value: 'N',
          about: 'how long the run may take; tests that would not end within it are skipped',
          check: (text) => (Number(text) > 0 ? undefined : 'how long the run may take, 60 for example'),
        },
        {
          name: 'rotate',
          about: 'a fixed core of tests, and as many of the others as --minutes has room for',
        },
        { name: 'record', about: 'writes into lab/tests/last-green.json which tests passed' },
        { name: 'long', about: '100 random kills, not 8, and 50 of workers' },
        { name: 'again', about: 'runs what failed once more, in a boot of its own' },
      ],
    },
    process.argv.slice(2),
  ),
};
process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const EXIT_SKIPPED = 77;
/** The exit code after a signal, as shells compute it. */
const EXIT_ENDED = 130;
/** `prepare` runs before the boot, and returns a reason to skip its tests if there is one. */
const BOOTS = [
  { name: 'alone', what: 'xen-netback is absent', options: ['--no-netback'], seconds: 3600 },
  {
    name: 'beside',
    what: 'xen-netback is there, and vifd is the shipped unit',
    options: ['--systemd'],
    seconds: 1500,
    prepare: pack,
  },
  {
    name: 'systemd',
    what: 'dom0 runs systemd',
    options: ['--no-netback', '--systemd'],
    seconds: 1500,
    prepare: pack,
  },
  {
    name: 'driver-domain',
    what: 'vifd is in a driver domain, and xenstored is the C one',
    options: ['--no-netback', '--driver-domain', '--xenstored', 'xenstored'],
    seconds: 1500,
    prepare: pack,
  },
  {
    name: 'speed',
    what: "QEMU's netback is there as well",
    options: ['--peer', '--systemd'],
    seconds: 1500,
    prepare: fetchPeer,
  },
];

/** The commit that is tested, whatever is committed meanwhile. */
const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
setUpPrograms('lab');
const { chooseTests, recordGreens } = await import('../build/lab/lab/tests/choose.js');

const main = 'build/lab/lab/tests/main.js';
const listed = spawnSync(process.execPath, [main, 'list', options.only], { encoding: 'utf8' });
if (listed.status !== 0) throw new Error(listed.stderr);
const picked = JSON.parse(listed.stdout).filter(({ boot }) => (options.boot ?? boot) === boot);
const GREENS = 'lab/tests/last-green.json';
const greens = JSON.parse(readFileSync(GREENS, 'utf8'));
const { long } = options;
/** How much later than planned a run that chose its tests may end, because the emulator is sometimes slow. */
const SLACK_MINUTES = options.rotate ? 25 : 0;
const endMs = Date.now() + (Number(options.minutes) + SLACK_MINUTES) * 60_000;
/** From the start of the lab to the first test (s): 60 to 100 were measured. */
const BOOT_SECONDS = 120;
/** More failures than this are no accident. */
const AGAIN_MAX = 3;
/** How much longer 100 kills take than the 8 of an ordinary run; those of workers take less. */
const LONG_SECONDS = 1800;

async function fetchPeer() {
  pack();
  const { code } = await lab(['--prepare', '--peer']);
  return code === 0
    ? undefined
    : `the lab has no QEMU netback to compare with (exit code ${code}): its reason is above`;
}

function secondsLeft() {
  return Math.floor((endMs - Date.now()) / 1000) - BOOT_SECONDS;
}

/** Runs the lab: shows its stderr, and returns it with the exit code. */
async function lab(args) {
  const child = spawn('lab/lab.sh', args, { stdio: ['ignore', 'inherit', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
    process.stderr.write(chunk);
  });
  let ended = false;
  const end = () => {
    ended = true;
    child.kill('SIGTERM');
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, end);
  const code = await new Promise((resolve) => child.on('close', resolve));
  for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, end);
  if (ended) process.exit(EXIT_ENDED);
  return { code, stderr };
}

function skipped(mine, reason) {
  return mine.map(({ name }) => ({ name, outcome: 'skipped', reason }));
}

/** @returns one result for each test of the boot, even if the machine fails. */
async function run(boot, mine) {
  const out = mkdtempSync(`${tmpdir()}/vifd-xen-`);
  const command = [
    'node',
    main,
    'run',
    boot.name,
    ...(long ? ['--long'] : []),
    ...(endMs === Number.POSITIVE_INFINITY ? [] : ['--seconds', `${secondsLeft()}`]),
    '--',
    ...mine.map(({ name }) => name),
  ];
  const seconds = boot.seconds + (long ? LONG_SECONDS : 0);
  const { code } = await lab(['--out', out, '--timeout', `${seconds}`, ...boot.options, '--', ...command]);
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

async function runBoot(boot, mine) {
  const shortest = Math.min(...mine.map(({ seconds }) => seconds));
  if (secondsLeft() < shortest) {
    const left = Math.max(0, secondsLeft());
    return skipped(
      mine,
      `it takes up to ${shortest} s, and this run (--minutes) would have ${left} s left after the boot`,
    );
  }
  const reason = await boot.prepare?.();
  if (reason !== undefined) return skipped(mine, reason);
  console.log(`boot: ${boot.what}, ${mine.length} tests`);
  const results = await run(boot, mine);
  return options.again ? runAgain(boot, results) : results;
}

/** Runs failed tests again. The emulator is slow and uneven: a failure that does not repeat is printed, and does not count. */
async function runAgain(boot, results) {
  const failed = results.filter(({ outcome }) => outcome === 'failed');
  if (failed.length === 0 || failed.length > AGAIN_MAX || secondsLeft() < 0) return results;
  console.log(`boot: once more for what failed, ${failed.length} tests`);
  const second = await run(boot, failed);
  return results.map((result) => {
    const passed = second.some(({ name, outcome }) => name === result.name && outcome === 'passed');
    if (result.outcome !== 'failed' || !passed) return result;
    return { ...result, outcome: 'passed', again: true };
  });
}

async function runAll(tests) {
  const { code, stderr } = await lab(['--prepare']);
  if (code === EXIT_SKIPPED) return skipped(tests, stderr.match(/skipped: (.*)/)?.[1] ?? 'no reason given');
  if (code !== 0) return tests.map(({ name }) => ({ name, outcome: 'failed', reason: `lab: ${code}` }));
  const results = [];
  for (const boot of BOOTS) {
    const mine = tests.filter((test) => test.boot === boot.name);
    if (mine.length > 0) results.push(...(await runBoot(boot, mine)));
  }
  return results;
}

if (picked.length === 0) {
  console.error('no test is of this --boot and has this --only in its name');
  process.exit(2);
}
/** Prints the tests that are left to later runs, and which of them have waited too long. */
function tellRest(rest) {
  for (const { test, age } of rest) {
    const green = greens.tests[test.name];
    const when =
      green === undefined ? 'never recorded as green' : `green ${age} landings ago, at ${green.commit}`;
    console.log(`not run this time: ${test.name} (${when})`);
  }
  if (rest.length > 0) console.log(`${rest.length} tests are left to later runs`);
}

const { chosen, rest } = options.rotate
  ? chooseTests({ tests: picked, greens, minutes: Number(options.minutes), bootSeconds: BOOT_SECONDS })
  : { chosen: picked, rest: [] };
const results = await runAll(chosen);
if (options.record) {
  // A run of some tests by name makes the others no older.
  const isLanding = options.only === '' && options.boot === undefined;
  const all = JSON.parse(spawnSync(process.execPath, [main, 'list'], { encoding: 'utf8' }).stdout);
  const recorded = recordGreens({ greens, tests: all, commit, isLanding, results });
  writeFileSync(GREENS, `${JSON.stringify(recorded, null, 2)}\n`);
}
tellRest(rest);
for (const { name } of results.filter(({ again }) => again)) console.log(`passed when run again: ${name}`);
const count = (outcome) => results.filter((result) => result.outcome === outcome).length;
for (const { name, outcome, reason } of results) {
  if (outcome === 'skipped') console.log(`skipped: ${name}: ${reason}`);
}
console.log(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`);
process.exit(count('failed') === 0 ? 0 : 1);
