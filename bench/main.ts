import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { FRAMES } from './frames.js';
import { BenchGuest } from './guest.js';
import { TypeScriptLoop } from './loop.js';
import { BACKEND, cxxLoop, GUEST, modelMachine, XENSIM, xensimMachine } from './machines.js';
import { batchesOf, type Cell, EFFORT, type Effort, type Found, measure, pool, QUICK } from './measure.js';
import { type Line, lineOf, print, type Report, report, writeDocs } from './report.js';
import { measureTap } from './tap.js';
import { verifySame } from './verify.js';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    /** Only cells whose name has this in it. */
    only: { type: 'string', default: '' },
    /** Internal: what a child process measures. */
    part: { type: 'string' },
  },
});
const effort = flags.quick ? QUICK : EFFORT;

function cells(): Cell[] {
  const all = (['from-guest', 'to-guest'] as const).flatMap((direction) =>
    FRAMES.flatMap((frame) => batchesOf(frame).map((batch) => ({ direction, frame, batch }))),
  );
  return all.filter((cell) => `${cell.direction} ${cell.frame.name} ${cell.batch}`.includes(flags.only));
}

/** C++ and native TypeScript in turns, on the same rings; the map mode and staged grants besides. */
function measureNative(): Found[] {
  using machine = xensimMachine();
  const guest = new BenchGuest(machine.guest, BACKEND);
  const { txRef, rxRef } = guest;
  const cxx = cxxLoop({ directory: XENSIM, domid: GUEST, txRef, rxRef });
  const native = new TypeScriptLoop(machine.backend, guest, 'copy');
  const map = new TypeScriptLoop(machine.backend, guest, 'map');
  const staged = new TypeScriptLoop(machine.backend, guest, 'copy', undefined, true);
  const found = cells().map((cell) => {
    verifySame(cell, guest, cxx, native);
    verifySame(cell, guest, cxx, staged);
    return measure(cell, guest, { cxx, native, map, staged }, effort);
  });
  native.close();
  map.close();
  staged.close();
  return found;
}

/** In a process of its own: a second implementation of the seam would make the first one's calls polymorphic. */
function measureModel(): Found[] {
  using machine = modelMachine();
  const guest = new BenchGuest(machine.guest, BACKEND);
  const model = new TypeScriptLoop(machine.backend, guest, 'copy');
  const short: Effort = { ...effort, rounds: Math.ceil(effort.rounds / 3) };
  return cells().map((cell) => measure(cell, guest, { model }, short));
}

/** Runs a part in a process of its own, by way of `command` when there is one. @returns what it found. */
function inChild(part: string, command: readonly string[] = []): Promise<Found[]> {
  const [file, ...args] = [...command, process.execPath, ...process.argv.slice(1), '--part', part];
  const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  let complaint = '';
  child.stderr?.on('data', (text) => {
    complaint += text;
  });
  return new Promise((resolve, reject) => {
    child.once('message', (found) => resolve(found as Found[]));
    child.once('error', reject);
    child.once('close', (code) => reject(new Error(complaint.trim() || `${part} ended with ${code}`)));
  });
}

async function nativeLines(): Promise<Line[]> {
  const runs: Found[][] = [];
  for (let i = 0; i < effort.processes; i++) runs.push(await inChild('native'));
  return pool(runs).map(lineOf);
}

async function modelLines(): Promise<Line[]> {
  return (await inChild('model')).map(lineOf);
}

/** In a network namespace: as root, or as a user who becomes root in it. @returns lines, or why there are none. */
async function tapLines(): Promise<Report['tap']> {
  const asUser = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  try {
    return (await inChild('tap', ['unshare', '--net', ...asUser])).map(lineOf);
  } catch (error) {
    return (error as Error).message.split('\n').at(-1) ?? 'unknown';
  }
}

async function main(): Promise<void> {
  if (flags.part === 'native') return void process.send?.(measureNative());
  if (flags.part === 'model') return void process.send?.(measureModel());
  if (flags.part === 'tap') return void process.send?.(await measureTap(effort));
  const result = report(await nativeLines(), await modelLines(), await tapLines());
  if (flags.json) console.log(JSON.stringify(result, undefined, 2));
  else print(result);
  if (flags['write-docs']) writeDocs(result);
}

await main();
