/**
 * `npm run bench -- neighbours [--mode A,B] [--rounds N] [--pings N] [--payload copy|map] [--workers] [--vifd FILE]
 * [--json] [--write-docs]`: what each mode of attack by one guest does to the pings of another, served by the same vifd and by another one, and
 * how two guests that flood share a vifd. Runs in namespaces of its own, 20 minutes for all modes.
 */
import { parseArgs } from 'node:util';
import { enterNamespaces, isInside } from '../../programs/namespaces.js';
import { ATTACKS } from './attacks/index.js';
import { type Effort, measureMode } from './measure.js';
import { NeighbourWorld } from './neighbour-world.js';
import {
  type ModeReport,
  modeReport,
  type NeighboursReport,
  neighboursText,
  RATIO_MAX,
  report,
  WORKERS_RATIO_MAX,
  writeDocs,
} from './neighbours-report.js';
import { measureShares, type ShareReport } from './shares.js';

/** In place of an attack: how two guests that flood share a vifd. */
const SHARES = 'shares';
const MODES = [...ATTACKS.map(({ name }) => name), SHARES];

const NAME = 'bench';

const { values: flags } = parseArgs({
  options: {
    /** Names of modes, with commas. Default: all; with --workers, all attacks. */
    mode: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    pings: { type: 'string', default: '1000' },
    'every-ms': { type: 'string', default: '5' },
    payload: { type: 'string', default: 'copy' },
    /** Victim and attacker have a worker each. */
    workers: { type: 'boolean', default: false },
    /** vifd.cjs of another checkout, to be measured in place of this one's. */
    vifd: { type: 'string' },
    json: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

function count(name: 'rounds' | 'pings' | 'every-ms'): number {
  const value = Number(flags[name]);
  if (Number.isInteger(value) && value >= 1) return value;
  return refuse(`--${name} is ${flags[name]}: give a whole number`);
}

function refuse(message: string): never {
  console.error(message);
  process.exit(2);
}

async function main(): Promise<void> {
  const effort: Effort = { rounds: count('rounds'), pings: count('pings'), everyMs: count('every-ms') };
  // Two guests that flood would have a worker each, and share nothing.
  const all = flags.workers ? MODES.filter((name) => name !== SHARES) : MODES;
  const names = flags.mode?.split(',') ?? all;
  const unknown = names.find((name) => !MODES.includes(name));
  if (unknown !== undefined) refuse(`--mode has ${unknown}: give some of ${MODES.join(', ')}`);
  const options = ['--payload', flags.payload, ...(flags.workers ? ['--workers', '2'] : [])];
  await using world = await NeighbourWorld.open({ options, vifd: flags.vifd });
  const found = await measureAll(world, names, effort);
  if (flags['write-docs']) writeDocs(found);
}

/** Measures and prints it. @throws what ended it early, after it printed what it had: that is worth its minutes. */
async function measureAll(
  world: NeighbourWorld,
  names: readonly string[],
  effort: Effort,
): Promise<NeighboursReport> {
  const modes: ModeReport[] = [];
  const shares: ShareReport[] = [];
  const { workers } = flags;
  const ratioMax = workers ? WORKERS_RATIO_MAX : RATIO_MAX;
  try {
    for (const attack of ATTACKS.filter(({ name }) => names.includes(name))) {
      const onTurn = (turns: number) => progress(`${attack.name}: turn ${turns} of ${2 * effort.rounds}`);
      modes.push(modeReport(await measureMode(world, attack, effort, onTurn), ratioMax));
    }
    const onRound = (rounds: number) => progress(`${SHARES}: round ${rounds} of ${effort.rounds}`);
    if (names.includes(SHARES)) shares.push(...(await measureShares(world, effort.rounds, onRound)));
    return report({ effort, workers, modes, shares });
  } finally {
    progress('');
    const result = report({ effort, workers, modes, shares });
    console.log(flags.json ? JSON.stringify(result) : neighboursText(result));
  }
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

if (isInside(NAME)) await main();
else
  process.exitCode = await enterNamespaces({ name: NAME, url: import.meta.url, args: process.argv.slice(2) });
