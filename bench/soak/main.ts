/**
 * `npm run soak [-- --kills N] [--guests N] [--workers N] [--json] [--write-docs]`: the demo's guests and streams, and so many SIGKILLs
 * at random instants in one run: of `vifd run`, or of the workers of one and, every eleventh, of their supervisor. Fails when a connection is reset, a byte differs, or a frontend finds a violation.
 */
import { parseArgs } from 'node:util';
import { DEMO_PROGRAM } from '../../demo/programs.js';
import { isClean, type Summary } from '../../demo/summary.js';
import { where } from '../../programs/where.js';
import { Child, parseEvent } from '../../worlds/processes/children.js';
import { progressLine, report, soakText, writeDocs } from './soak-report.js';

const PROGRESS_MS = 10_000;

const { values: flags } = parseArgs({
  options: {
    /** 2000 unless given; with --workers so many of workers, and those of the supervisor. */
    kills: { type: 'string' },
    guests: { type: 'string', default: '2' },
    workers: { type: 'string' },
    json: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

/** Every eleventh is of the supervisor. */
const { kills = flags.workers === undefined ? '2000' : '2200' } = flags;
let summary: Summary | undefined;
let shownMs = 0;

function hear(line: string): void {
  const event = parseEvent(line);
  if (event?.event === 'summary') summary = event as unknown as Summary;
  if (event?.event !== 'sample' || performance.now() - shownMs < PROGRESS_MS) return;
  shownMs = performance.now();
  process.stderr.write(`${progressLine(event, Number(kills))}\n`);
}

const beganMs = performance.now();
const workers = flags.workers === undefined ? [] : ['--workers', flags.workers];
const options = ['--json', '--kills', kills, '--guests', flags.guests, ...workers];
const demo = await Child.start({
  name: 'the demo',
  command: [process.execPath, DEMO_PROGRAM, ...options],
  onLine: hear,
  // Why it fails may have several lines.
  onErrorLine: (line) => process.stderr.write(`${line}\n`),
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void demo.end('SIGTERM'));
const how = await demo.ended;
if (summary?.kills === undefined) {
  process.stderr.write(`soak: ${demo.lastWords || how}\n`);
  process.exitCode = 1;
} else {
  const result = report(summary, summary.kills, {
    where: where(),
    minutes: (performance.now() - beganMs) / 60_000,
    ...(flags.workers === undefined ? {} : { workers: Number(flags.workers) }),
  });
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${soakText(result)}\n`);
  if (flags['write-docs']) writeDocs(result);
  process.exitCode = isClean(summary) && how === 'code 0' ? 0 : 1;
}
