import { machineMs } from './clock.js';
import { REPORT_MS } from './messages.js';
import type { Recorder, StreamRecord } from './recorder.js';

const BARS = ' ▁▂▃▄▅▆▇█';
const CELLS_MIN = 10;
/** How many cells a rate is averaged over. */
const RATE_CELLS = 5;

export interface Colours {
  bars(text: string): string;
  kill(text: string): string;
  faint(text: string): string;
}

/** @returns `cells` bars; the largest value is the highest. */
export function sparkline(values: readonly number[], highest: number): string {
  return values
    .map((value) => {
      if (value <= 0 || highest <= 0) return BARS[0];
      return BARS[Math.min(8, Math.max(1, Math.ceil((value / highest) * 8)))];
    })
    .join('');
}

/** Returns a line under the bars: T where SIGTERM ended a backend process, K where SIGKILL did. */
export function killLine(recorder: Recorder, first: number, cells: number): string {
  const marks = new Array<string>(cells).fill(' ');
  for (const { ending, atMs } of recorder.restarts) {
    const at = recorder.cellOf(atMs) - first;
    if (at >= 0 && at < cells) marks[at] = ending === 'SIGTERM' ? 'T' : 'K';
  }
  return marks.join('');
}

/** The lines of one picture. None is longer than `columns`. */
export function picture(recorder: Recorder, columns: number, colours: Colours): string[] {
  const labels = recorder.streams.map(({ ends }) => `${ends.from} → ${ends.to}`);
  const left = Math.max(...labels.map((label) => label.length));
  const cells = Math.max(CELLS_MIN, columns - left - 16);
  const now = recorder.cellOf(machineMs());
  const first = Math.max(0, now - cells);
  const lines = recorder.streams.map((stream, i) => {
    // Each curve has its own scale: the figure shows how much, the bars show when.
    const values = window(stream, first, cells);
    const rate = `${gbits(stream, now).toFixed(2)} Gbit/s`;
    const bars = sparkline(values, Math.max(...values));
    return `${labels[i]?.padEnd(left)} ${rate.padStart(13)} ${colours.bars(bars)}`;
  });
  const marks = killLine(recorder, first, cells).trimEnd();
  lines.push(`${' '.repeat(left + 15)}${colours.kill(marks)}`);
  lines.push(colours.faint(standing(recorder).slice(0, columns - 1)));
  return lines;
}

/** Returns one line, for output that is no terminal. */
export function plainLine(recorder: Recorder): string {
  const now = recorder.cellOf(machineMs());
  const rates = recorder.streams.map((stream) => gbits(stream, now, 1000 / REPORT_MS).toFixed(2)).join(' ');
  return `${(recorder.elapsedMs / 1000).toFixed(0).padStart(4)} s  Gbit/s ${rates}  ${standing(recorder)}`;
}

/** Bits a second of the cells before `end`, which are full. */
export function gbits(stream: StreamRecord, end: number, cells = RATE_CELLS): number {
  const from = Math.max(0, end - cells);
  const bytes = window(stream, from, end - from).reduce((sum, value) => sum + value, 0);
  return end === from ? 0 : (bytes * 8) / ((end - from) * REPORT_MS) / 1e6;
}

function window(stream: StreamRecord, first: number, cells: number): number[] {
  return Array.from({ length: cells }, (_, i) => stream.at(first + i));
}

function standing(recorder: Recorder): string {
  const { restarts, resets, differingBytes, violations } = recorder;
  const longest = Math.max(0, ...restarts.map((restart) => restart.gapMs));
  return `restarts ${restarts.length}  resets ${resets}  differ ${differingBytes}  violations ${violations}  longest gap ${longest.toFixed(0)} ms`;
}
