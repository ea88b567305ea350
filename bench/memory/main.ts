/**
 * `npm run bench -- memory [--vifs N] [--guests N] [--json] [--write-docs]`: the memory of a supervisor, a worker by its number of vifs, and a
 * standby, and what they use of a processor while no frame passes.
 */
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { align, factsTable, writeSection } from '../../programs/docs.js';
import { enterNamespaces, isInside } from '../../programs/namespaces.js';
import { where } from '../../programs/where.js';
import { anonymousMb, cpuMs, IdleWorld } from './idle-world.js';

const NAME = 'bench';
/** V8 gives memory back in the seconds after it was used. */
const SETTLE_MS = 15_000;
const IDLE_MS = 20_000;
const LOAD_MS = 15_000;
const TICK_MS = 5;
/** MB of anonymous memory, and percent of a processor. */
const MOST = { supervisor: 15, worker: 12, vif: 0.3, loaded: 15, standby: 25, idlePercent: 1 };

const { values: flags } = parseArgs({
  options: {
    vifs: { type: 'string', default: '128' },
    guests: { type: 'string', default: '100' },
    json: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

interface Row {
  readonly what: string;
  readonly figure: number;
  readonly unit: string;
  readonly most?: number;
}

/** One worker: with one vif, and with so many. */
async function measureWorker(vifs: number): Promise<Row[]> {
  await using world = await IdleWorld.open('1', vifs);
  await world.grow(1);
  await sleep(SETTLE_MS);
  const [worker] = world.workers;
  const [supervisorMb, oneMb, standbyMb] = [world.supervisor, worker, world.standby as number].map(
    anonymousMb,
  );
  await world.grow(vifs);
  await sleep(SETTLE_MS);
  const allMb = anonymousMb(worker);
  const processes = [world.supervisor, worker, world.standby as number];
  const before = processes.map(cpuMs);
  await sleep(IDLE_MS);
  world.requireSound();
  const percent = processes.map((pid, i) => ((cpuMs(pid) - before[i]) / IDLE_MS) * 100);
  return [
    { what: 'supervisor, 1 vif', figure: supervisorMb, unit: 'MB', most: MOST.supervisor },
    {
      what: `supervisor, ${vifs} vifs`,
      figure: anonymousMb(world.supervisor),
      unit: 'MB',
      most: MOST.supervisor,
    },
    { what: 'worker, 1 vif', figure: oneMb, unit: 'MB', most: MOST.worker },
    {
      what: `worker, each further vif of ${vifs}`,
      figure: (allMb - oneMb) / (vifs - 1),
      unit: 'MB',
      most: MOST.vif,
    },
    { what: 'standby', figure: standbyMb, unit: 'MB', most: MOST.standby },
    { what: `idle, ${vifs} vifs: supervisor`, figure: percent[0], unit: '%', most: MOST.idlePercent },
    { what: `idle, ${vifs} vifs: worker`, figure: percent[1], unit: '%', most: MOST.idlePercent },
    { what: 'idle: standby', figure: percent[2], unit: '%', most: MOST.idlePercent },
  ];
}

/** One worker with one vif, whose guest sends and gets frames. */
async function measureLoaded(): Promise<Row[]> {
  await using world = await IdleWorld.open('1', 1);
  await world.grow(1);
  const sending = setInterval(() => world.tick(), TICK_MS);
  await sleep(LOAD_MS);
  const figure = anonymousMb(world.workers[0]);
  clearInterval(sending);
  return [{ what: `worker, 1 vif, a frame each ${TICK_MS} ms`, figure, unit: 'MB', most: MOST.loaded }];
}

/** A worker for each of so many guests with one vif each. */
async function measureGuests(guests: number): Promise<Row[]> {
  await using world = await IdleWorld.open('per-guest', guests, 1);
  const beganMs = performance.now();
  await world.grow(guests);
  const startS = (performance.now() - beganMs) / 1000;
  await sleep(SETTLE_MS);
  const { workers } = world;
  if (workers.length !== guests) throw new Error(`${guests} guests have ${workers.length} workers`);
  const each = workers.map(anonymousMb);
  const sumMb = each.reduce((sum, one) => sum + one, 0);
  const processes = [world.supervisor, ...workers];
  const before = processes.map(cpuMs);
  await sleep(IDLE_MS);
  world.requireSound();
  const usedMs = processes.reduce((sum, pid, i) => sum + cpuMs(pid) - before[i], 0);
  return [
    { what: `per-guest, ${guests} guests: supervisor`, figure: anonymousMb(world.supervisor), unit: 'MB' },
    { what: `per-guest, ${guests} guests: a worker`, figure: sumMb / guests, unit: 'MB' },
    { what: `per-guest, ${guests} guests: all workers`, figure: sumMb, unit: 'MB' },
    { what: `per-guest, ${guests} guests: idle, all processes`, figure: (usedMs / IDLE_MS) * 100, unit: '%' },
    {
      what: `per-guest, ${guests} guests: until all were connected, one after the other`,
      figure: startS,
      unit: 's',
    },
  ];
}

function table(rows: readonly Row[]): string {
  const cells = rows.map(({ what, figure, unit, most }) => [
    what,
    `${figure.toFixed(figure < 10 ? 2 : 1)} ${unit}`,
    most === undefined ? '' : `${most} ${unit}`,
    most === undefined ? '' : figure <= most ? 'ok' : 'TOO MUCH',
  ]);
  return align([['what', 'measured', 'at most', ''], ...cells]);
}

async function main(): Promise<void> {
  const [vifs, guests] = [Number(flags.vifs), Number(flags.guests)];
  const rows = [
    ...(await measureWorker(vifs)),
    ...(await measureLoaded()),
    ...(guests > 0 ? await measureGuests(guests) : []),
  ];
  const facts = { ...where(), load: loadavg()[0].toFixed(0) };
  console.log(flags.json ? JSON.stringify({ schemaVersion: 1, where: facts, rows }) : table(rows));
  if (!flags['write-docs']) return;
  const text = `\`\`\`\n${table(rows)}\n\`\`\``;
  writeSection('bench memory', [EXPLANATION, factsTable(facts), text].join('\n\n'));
}

const EXPLANATION = `Generated by \`npm run bench -- memory --write-docs\`; do not edit. **MB**: 10^6 bytes of anonymous memory (\`Anonymous\` of
/proc/PID/smaps_rollup), which nothing but the process needs: files that are mapped, and guests' pages, do not count. Read ${SETTLE_MS / 1000} s after the last guest has
connected, since V8 gives memory back in the seconds after it was used. **%**: of one processor, in ${IDLE_MS / 1000} s without frames.
**load**: the machine's load average at the end; a machine with other work makes the shares of a processor larger.`;

if (isInside(NAME)) await main();
else
  process.exitCode = await enterNamespaces({ name: NAME, url: import.meta.url, args: process.argv.slice(2) });
