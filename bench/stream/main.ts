/**
 * `npm run bench -- stream [--rounds N] [--guests N] [--json] [--write-docs]`: the longest silence of the demo's TCP streams while a worker of
 * `vifd run --workers` is killed, and as long without a death, in turns. Runs in namespaces of its own, 5 s a round.
 */
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { machineMs } from '../../demo/clock.js';
import { openNamespacesWorld } from '../../demo/namespaces-world.js';
import type { DemoOptions } from '../../demo/options.js';
import { SUPERVISOR_EVERY } from '../../demo/supervised-backend.js';
import { enterNamespaces, isInside } from '../../programs/namespaces.js';
import { where } from '../../programs/where.js';
import { SilenceRecorder } from './silence-recorder.js';
import { type StreamRound, streamReport, streamText, writeDocs } from './stream-report.js';

const NAME = 'bench';
const WORKERS = 2;
/** How long silences are observed, with a death and without. */
const WINDOW_MS = 1500;
/** Receivers report silences up to 0.1 s late. By then there is another standby, too. */
const REST_MS = 1000;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '40' },
    guests: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  const [rounds, guests] = [Number(flags.rounds), Number(flags.guests)];
  if (![rounds, guests].every((count) => Number.isInteger(count) && count > 0))
    throw new Error(`--rounds is ${flags.rounds}, --guests is ${flags.guests}: give whole numbers`);
  const end = new AbortController();
  const recorder = new SilenceRecorder();
  const options: DemoOptions = {
    ...{ seconds: 0, guests, json: true, standby: false, workers: WORKERS },
    payload: 'copy',
  };
  const fail = (error: Error) => end.abort(error);
  await using world = await openNamespacesWorld({ options, recorder, signal: end.signal, fail });
  const all: StreamRound[] = [];
  for (let round = 1; round <= rounds; round++) {
    end.signal.throwIfAborted();
    const quietMs = await longestMs(recorder, () => {});
    const deathMs = await longestMs(recorder, () => world.restart('SIGKILL'));
    all.push({ of: round % SUPERVISOR_EVERY === 0 ? 'supervisor' : 'worker', quietMs, deathMs });
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round} of ${rounds}`);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  // What was sent is compared with what arrived.
  await world.finish();
  const { resets, violations, differingBytes } = recorder;
  const load = loadavg()[0];
  const result = streamReport(all, { where: where(), guests, load, resets, violations, differingBytes });
  console.log(flags.json ? JSON.stringify(result) : streamText(result));
  if (flags['write-docs']) writeDocs(result);
  if (resets + violations + differingBytes > 0) process.exitCode = 1;
}

/** Returns the longest silence of any stream from now on, in which `strike` ends a process. */
async function longestMs(recorder: SilenceRecorder, strike: () => unknown): Promise<number> {
  recorder.forget();
  const fromMs = machineMs();
  const over = sleep(WINDOW_MS);
  await strike();
  await over;
  const untilMs = machineMs();
  await sleep(REST_MS);
  return recorder.longestMs(fromMs, untilMs);
}

if (isInside(NAME)) await main();
else
  process.exitCode = await enterNamespaces({ name: NAME, url: import.meta.url, args: process.argv.slice(2) });
