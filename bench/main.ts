/**
 * `npm run bench`: lib/netback and the same work in C++, in turns, in many processes, one after the other. scripts/bench.mjs has read the
 * options: this file gets them as JSON, as `--options`. Its child processes get a Job, as `--job`.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { inlineMore } from '../lib/host/v8-flags.js';
import { Progress } from '../programs/progress.js';
import { runProgram } from '../programs/run-program.js';
import { compare } from './compare.js';
import { writeDocs } from './docs.js';
import { effortOf } from './effort.js';
import { type Line, linesOf, merge, nameOf } from './figures.js';
import { machinesFolder } from './machines.js';
import type { Found } from './measure.js';
import { print, printCompared } from './print.js';
import { type Job, runProcess } from './processes.js';
import { type Report, whereNow } from './report.js';
import { SUBJECTS, type Subject } from './subjects.js';

interface Options {
  readonly quick: boolean;
  readonly json: boolean;
  readonly 'write-docs': boolean;
  /** Only rows whose name has this in it. */
  readonly only: string;
  /** A file with what `--json` printed. */
  readonly compare?: string;
}

const EXIT_ENDED = 130;

/** One process after the other, so that they do not take the caches from each other. */
class Bench {
  readonly #options: Options;
  readonly #signal: AbortSignal;
  readonly #progress = new Progress();
  readonly #beganMs = performance.now();
  readonly #all: number;
  #ended = 0;

  constructor(options: Options, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#all = SUBJECTS.reduce((sum, { name }) => sum + effortOf(name, options.quick).processes, 0);
  }

  async run(): Promise<Report> {
    const where = whereNow();
    try {
      const lines = await this.#linesOf(SUBJECTS.filter(({ network }) => !network));
      return { schemaVersion: 2, quick: this.#options.quick, where, lines, tap: await this.#tapLines() };
    } finally {
      this.#progress.end();
    }
  }

  async #tapLines(): Promise<Report['tap']> {
    try {
      return await this.#linesOf(SUBJECTS.filter(({ network }) => network));
    } catch (error) {
      this.#signal.throwIfAborted();
      return (error as Error).message.split('\n').at(-1) ?? 'unknown';
    }
  }

  async #linesOf(subjects: readonly Subject[]): Promise<Line[]> {
    let lines: Line[] = [];
    for (const subject of subjects) lines = merge(lines, linesOf(subject.name, await this.#measure(subject)));
    return lines;
  }

  async #measure(subject: Subject): Promise<Found[][]> {
    const { quick, only } = this.#options;
    const { processes, effort } = effortOf(subject.name, quick);
    const runs: Found[][] = [];
    while (runs.length < processes) {
      this.#tell(`${subject.name}, process ${runs.length + 1} of ${processes}`);
      // What a loop allocates is the same in each process.
      const own = runs.length === 0 ? effort : { ...effort, garbageMs: 0 };
      const job = { subject: subject.name, effort: own, only };
      runs.push(await runProcess(fileURLToPath(import.meta.url), subject, job, this.#signal));
      this.#ended++;
    }
    return runs;
  }

  #tell(what: string): void {
    const elapsedS = (performance.now() - this.#beganMs) / 1000;
    const left = this.#ended === 0 ? '' : `, ${this.#leftS(elapsedS)} s left`;
    this.#progress.say(`bench: ${what}; ${this.#ended} of ${this.#all} have ended${left}`);
  }

  #leftS(elapsedS: number): string {
    return ((elapsedS / this.#ended) * (this.#all - this.#ended)).toFixed(0);
  }
}

async function runJob({ subject: name, effort, only }: Job): Promise<void> {
  // As `vifd run` does.
  inlineMore();
  const subject = SUBJECTS.find((one) => one.name === name);
  if (subject === undefined) throw new Error(`no subject has the name ${name}`);
  const cells = subject.cells.filter(({ direction, frame, batch }) =>
    nameOf({ direction, frame: frame.name, batch }).includes(only),
  );
  process.send?.(await subject.measure(cells, effort));
}

async function main([kind, text = '{}']: readonly string[]): Promise<number> {
  if (kind === '--job') {
    await runJob(JSON.parse(text) as Job);
    return 0;
  }
  const options = JSON.parse(text) as Options;
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
  using _folder = machinesFolder();
  try {
    tell(options, await new Bench(options, ending.signal).run());
    return 0;
  } catch (error) {
    if (!ending.signal.aborted) throw error;
    return EXIT_ENDED;
  }
}

function tell(options: Options, result: Report): void {
  const saved = options.compare && (JSON.parse(readFileSync(options.compare, 'utf8')) as Report);
  const changes = saved ? compare(saved, result) : undefined;
  if (options.json) console.log(JSON.stringify({ ...result, changes }, undefined, 2));
  else {
    print(result);
    if (saved && changes !== undefined) printCompared(saved, result, changes);
  }
  if (options['write-docs']) writeDocs(result);
}

await runProgram('bench', main);
