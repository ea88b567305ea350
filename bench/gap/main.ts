/**
 * `npm run bench -- gap [--workers] [--kills N] [--payload copy|map] [--json] [--write-docs]`: how long after a SIGKILL the next
 * process carries its first frame, in each direction; with --workers, how long guests hear nothing when a worker dies, in all ways in
 * which it may. Runs in a network namespace of its own.
 */
import { parseArgs } from 'node:util';
import { enterNamespaces, isInside } from '../../programs/namespaces.js';
import { print, report, writeDocs } from './gap-report.js';
import { measureGaps } from './measure.js';
import { WORKER_FAULTS } from './worker-faults.js';
import { measureWorkerGaps, type WorkerGaps } from './worker-gaps.js';
import { workerReport, workerTable, writeWorkerDocs } from './worker-report.js';

const NAME = 'bench';

const { values: flags } = parseArgs({
  options: {
    workers: { type: 'boolean', default: false },
    /** 100 unless given; with --workers 25 of each kind. */
    kills: { type: 'string' },
    /** Both in turn unless given; with --workers copy. */
    payload: { type: 'string' },
    /** Only deaths whose name has this in it. */
    death: { type: 'string', default: '' },
    vifs: { type: 'string', default: '1,32' },
    json: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  const kills = Number(flags.kills ?? (flags.workers ? 25 : 100));
  if (!Number.isInteger(kills) || kills < 1)
    throw new Error(`--kills is ${flags.kills}: give a whole number`);
  if (flags.workers) return ofWorkers(kills);
  const payloads = flags.payload === undefined ? ['copy', 'map'] : [flags.payload];
  const gaps = await measureGaps({ kills, payloads });
  const result = report(gaps);
  if (flags.json) console.log(JSON.stringify(result));
  else print(result);
  if (flags['write-docs']) writeDocs(result);
}

async function ofWorkers(kills: number): Promise<void> {
  const { payload = 'copy', death } = flags;
  const faults = WORKER_FAULTS.filter(({ name }) => name.includes(death));
  const all: WorkerGaps[] = [];
  for (const vifs of flags.vifs.split(',').map(Number))
    all.push(...(await measureWorkerGaps({ kills, payload, faults, vifs })));
  const result = workerReport(all, payload);
  console.log(flags.json ? JSON.stringify(result) : workerTable(result));
  if (flags['write-docs']) writeWorkerDocs(result);
}

if (isInside(NAME)) await main();
else
  process.exitCode = await enterNamespaces({ name: NAME, url: import.meta.url, args: process.argv.slice(2) });
