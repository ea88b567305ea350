/**
 * `npm run bench -- gap [--kills N] [--payload copy|map] [--json] [--write-docs]`: how long after a SIGKILL the next
 * process carries its first frame, in each direction. Runs in a network namespace of its own.
 */
import { parseArgs } from 'node:util';
import { enterNamespaces, isInside } from '../../programs/namespaces.js';
import { print, report, writeDocs } from './gap-report.js';
import { measureGaps } from './measure.js';

const NAME = 'bench';

const { values: flags } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    /** Both in turn unless given. */
    payload: { type: 'string' },
    json: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  const kills = Number(flags.kills);
  if (!Number.isInteger(kills) || kills < 1)
    throw new Error(`--kills is ${flags.kills}: give a whole number`);
  const payloads = flags.payload === undefined ? ['copy', 'map'] : [flags.payload];
  const gaps = await measureGaps({ kills, payloads });
  const result = report(gaps);
  if (flags.json) console.log(JSON.stringify(result));
  else print(result);
  if (flags['write-docs']) writeDocs(result);
}

if (isInside(NAME)) await main();
else
  process.exitCode = await enterNamespaces({ name: NAME, url: import.meta.url, args: process.argv.slice(2) });
