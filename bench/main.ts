import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Line, linesOf, merge } from './figures.js';
import type { Cell } from './measure.js';
import { type Job, runProcesses, type SubjectEffort } from './processes.js';
import { print, type Report, report, writeDocs } from './report.js';
import { SUBJECTS, type Subject } from './subjects.js';

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    /** Only cells whose name has this in it. */
    only: { type: 'string', default: '' },
    /** Internal: a Job for this process. */
    job: { type: 'string' },
  },
});

/** Many short rounds: whatever else the machine does spoils few of them. */
const FULL = { rounds: 31, roundMs: 0.7, warmUpMs: 60 };
const QUICK = { rounds: 21, roundMs: 0.5, warmUpMs: 30 };
/** C++ and TypeScript each have speeds that differ by process, as memory lies in the caches. */
const PROCESSES: Readonly<Record<string, number>> = { native: 25, 'no journal': 15, tap: 9 };
const PROCESSES_QUICK: Readonly<Record<string, number>> = { native: 5, 'no journal': 3 };
const PROCESSES_REST = 5;

function effortOf({ name }: Subject): SubjectEffort {
  if (flags.quick) return { ...QUICK, processes: PROCESSES_QUICK[name] ?? 1 };
  return { ...FULL, processes: PROCESSES[name] ?? PROCESSES_REST };
}

function chosen(cells: readonly Cell[], only: string): Cell[] {
  return cells.filter(({ direction, frame, batch }) => `${direction} ${frame.name} ${batch}`.includes(only));
}

async function linesFor(subject: Subject): Promise<Line[]> {
  return linesOf(await runProcesses(fileURLToPath(import.meta.url), subject, effortOf(subject), flags.only));
}

async function tapLines(): Promise<Report['tap']> {
  try {
    let lines: Line[] = [];
    for (const subject of SUBJECTS.filter(({ network }) => network))
      lines = merge(lines, await linesFor(subject));
    return lines;
  } catch (error) {
    return (error as Error).message.split('\n').at(-1) ?? 'unknown';
  }
}

async function runJob({ subject: name, effort, only }: Job): Promise<void> {
  const subject = SUBJECTS.find((one) => one.name === name);
  if (subject === undefined) throw new Error(`no subject has the name ${name}`);
  process.send?.(await subject.measure(chosen(subject.cells, only), effort));
}

async function main(): Promise<void> {
  if (flags.job !== undefined) return runJob(JSON.parse(flags.job) as Job);
  let lines: Line[] = [];
  for (const subject of SUBJECTS.filter(({ network }) => !network))
    lines = merge(lines, await linesFor(subject));
  const result = report(lines, await tapLines());
  if (flags.json) console.log(JSON.stringify(result, undefined, 2));
  else print(result);
  if (flags['write-docs']) writeDocs(result);
}

await main();
