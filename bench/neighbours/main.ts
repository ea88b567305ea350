/**
 * `npm run bench -- neighbours [--mode A,B] [--rounds N] [--pings N] [--json]`: what each mode of attack by one guest does to the
 * pings of another, served by the same vifd and by another one. Runs in namespaces of its own.
 */
import { parseArgs } from 'node:util';
import { inOwnNamespaces, isInside } from '../own-namespaces.js';
import { ATTACKS } from './attacks/index.js';
import { type Effort, measureMode } from './measure.js';
import { modeReport, neighboursText, report } from './report.js';
import { NeighbourWorld } from './world.js';

const { values: flags } = parseArgs({
  options: {
    /** Names of modes, with commas. Default: all. */
    mode: { type: 'string', default: ATTACKS.map(({ name }) => name).join(',') },
    rounds: { type: 'string', default: '5' },
    pings: { type: 'string', default: '1000' },
    'every-ms': { type: 'string', default: '5' },
    payload: { type: 'string', default: 'copy' },
    /** vifd.cjs of another checkout, to be measured in place of this one's. */
    vifd: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

function count(name: 'rounds' | 'pings' | 'every-ms'): number {
  const value = Number(flags[name]);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new Error(`--${name} is ${flags[name]}: give a whole number`);
}

async function main(): Promise<void> {
  const effort: Effort = { rounds: count('rounds'), pings: count('pings'), everyMs: count('every-ms') };
  const attacks = flags.mode.split(',').map((name) => {
    const attack = ATTACKS.find((one) => one.name === name);
    if (attack !== undefined) return attack;
    throw new Error(`--mode has ${name}: give some of ${ATTACKS.map((one) => one.name).join(', ')}`);
  });
  await using world = await NeighbourWorld.open({ options: ['--payload', flags.payload], vifd: flags.vifd });
  const modes = [];
  for (const attack of attacks) {
    const turns = await measureMode(world, attack, effort, (done) =>
      progress(`${attack.name}: turn ${done} of ${2 * effort.rounds}`),
    );
    modes.push(modeReport(turns));
  }
  progress('');
  const result = report(modes, effort);
  console.log(flags.json ? JSON.stringify(result) : neighboursText(result));
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

if (isInside()) await main();
else process.exitCode = inOwnNamespaces();
