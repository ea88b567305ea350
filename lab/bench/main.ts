import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { where } from '../../programs/where.js';
import type { Request } from './dom0.js';
import { EFFORT, QUICK, WARM_UP_SECONDS } from './measure.js';
import { print, type Results, writeComparison, writeDocs } from './xen-report.js';

/** On the host: boots the lab, has dom0.js measure in it, and prints the results. */
const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    rounds: { type: 'string' },
    /** Names of subjects, with commas. */
    only: { type: 'string', default: '' },
    /** NAME=CHECKOUT: another build of vifd to measure. */
    against: { type: 'string', multiple: true, default: [] },
  },
});

/** The most seconds of a turn besides its measurements: for taking over, and for iperf3's starts. */
const TURN_OVERHEAD = 150;
const BOOT_SECONDS = 300;

/** This machine cannot run the lab; lab.sh has printed the reason. */
const EXIT_SKIPPED = 77;

/** In the checkout, which is the only folder of the host that dom0 sees. */
const BUILDS = 'build/lab/builds';

function request(): Request {
  const plain = flags.quick ? QUICK : EFFORT;
  const effort = flags.rounds === undefined ? plain : { ...plain, rounds: Number(flags.rounds) };
  const builds = flags.against.map((argument) => {
    const [name = '', checkout = ''] = argument.split('=');
    const folder = join(BUILDS, name);
    mkdirSync(join(folder, 'build/Release'), { recursive: true });
    for (const part of ['dist', 'package.json', 'build/Release/vifd.node']) {
      const file = join(checkout, part);
      if (!existsSync(file)) throw new Error(`--against ${argument}: there is no ${file}: build it first`);
      cpSync(file, join(folder, part), { recursive: true });
    }
    symlinkSync('../../../../node_modules', join(folder, 'node_modules'));
    return { name, folder: `/mnt/vifd/${folder}` };
  });
  return { effort, only: flags.only.split(',').filter((name) => name !== ''), builds };
}

function seconds({ effort, only, builds }: Request): number {
  const direction = effort.tcpSeconds + effort.warmUps.most * WARM_UP_SECONDS + 2 * effort.udpSeconds;
  const turn = 2 * direction + effort.pings / 10 + TURN_OVERHEAD;
  const subjects = only.length > 0 ? only.length : 4 + 2 * builds.length;
  return BOOT_SECONDS + Math.ceil(effort.rounds * subjects * turn);
}

/** @returns the measurements. If the machine cannot run the lab, the program ends with an exit code. */
async function boot(asked: Request): Promise<Results> {
  const out = mkdtempSync(join(tmpdir(), 'vifd-bench-'));
  const options = ['--peer', '--systemd', '--out', out, '--timeout', `${seconds(asked)}`];
  const command = ['node', 'build/lab/lab/bench/dom0.js', JSON.stringify(asked)];
  // Standard output is only for the result, which may be JSON.
  const lab = spawn('lab/lab.sh', [...options, '--', ...command], { stdio: ['ignore', 2, 2] });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => lab.kill('SIGTERM'));
  const code = await new Promise<number | null>((resolve) => lab.on('close', resolve));
  const file = join(out, 'results.json');
  if (code === 0) {
    const results = JSON.parse(readFileSync(file, 'utf8')) as Results;
    rmSync(out, { recursive: true });
    return { ...results, where: { ...where(), ...results.where } };
  }
  if (code !== EXIT_SKIPPED)
    console.error(`bench:xen: the lab ended with ${code}; its logs are in ${out}/lab`);
  // The results until then are not lost.
  if (existsSync(file)) print(JSON.parse(readFileSync(file, 'utf8')) as Results);
  process.exit(code ?? 1);
}

const results = await boot(request());
if (flags.json) console.log(JSON.stringify({ schemaVersion: 1, ...results }, undefined, 2));
else print(results);
if (flags['write-docs']) (flags.against.length > 0 ? writeComparison : writeDocs)(results);
