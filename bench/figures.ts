import { createHistogram } from 'node:perf_hooks';
import type { Garbage } from './garbage.js';
import { type Direction, type Found, median } from './measure.js';
import { CXX } from './subjects.js';

/** A figure of several processes: their median, and the quartiles, between which the middle half of the processes lies. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** What was measured of a loop in a row. */
export interface Figure {
  readonly processes: number;
  /** Nanoseconds a frame, over the rounds of all processes. */
  readonly ns: Percentiles;
  /** To C++: of each process the median over its pairs of rounds. Undefined for a loop that runs without C++. */
  readonly ratio?: Spread;
  /** Undefined for C++. */
  readonly garbage?: Garbage;
}

/** A row of the tables. */
export interface Line {
  readonly direction: Direction;
  readonly frame: string;
  readonly batch: number;
  /** By loop. */
  readonly figures: Readonly<Record<string, Figure>>;
}

export function nameOf({ direction, frame, batch }: Pick<Line, 'direction' | 'frame' | 'batch'>): string {
  return `${direction} ${frame} ${batch}`;
}

/**
 * @param subject the loop of TypeScript.
 * @param runs what each process of the subject found, about the same cells.
 */
export function linesOf(subject: string, runs: readonly (readonly Found[])[]): Line[] {
  return (runs[0] ?? []).map(({ direction, frame, batch, samples }, cell) => {
    const ofCell = runs.map((run) => run[cell]);
    const figures: Record<string, Figure> = {};
    for (const name of Object.keys(samples)) figures[name] = figureOf(name, ofCell);
    const garbage = ofCell.find((found) => found.garbage !== undefined)?.garbage;
    if (garbage !== undefined) figures[subject] = { ...figures[subject], garbage };
    return { direction, frame, batch, figures };
  });
}

function figureOf(name: string, found: readonly Found[]): Figure {
  const processes = found.map(({ samples }) => samples);
  const ns = percentilesOf(processes.flatMap((samples) => samples[name]));
  const figure = { processes: processes.length, ns };
  if (name === CXX || processes[0][CXX] === undefined) return figure;
  return { ...figure, ratio: spreadOf(processes.map((samples) => pairedRatio(samples[name], samples[CXX]))) };
}

/** The median over rounds that were run one after the other: what else the machine did meanwhile cancels out. */
function pairedRatio(of: readonly number[], to: readonly number[]): number {
  return median(of.map((value, round) => value / to[round]));
}

/** Adds the figures of a subject to the rows. C++ keeps the figure of the first subject that has it. */
export function merge(rows: readonly Line[], more: readonly Line[]): Line[] {
  const added = new Map(more.map((line) => [nameOf(line), line]));
  const merged = rows.map((row) => {
    const line = added.get(nameOf(row));
    added.delete(nameOf(row));
    return line === undefined ? row : { ...row, figures: { ...line.figures, ...row.figures } };
  });
  return [...merged, ...added.values()];
}

/** A histogram has whole numbers, and a frame takes some ten nanoseconds. */
const PER_NS = 1000;

export function percentilesOf(valuesNs: readonly number[]): Percentiles {
  const histogram = createHistogram();
  for (const value of valuesNs) histogram.record(Math.max(1, Math.round(value * PER_NS)));
  const at = (percent: number) => histogram.percentile(percent) / PER_NS;
  return { p50: at(50), p90: at(90), p99: at(99) };
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75) };
}

/** Linear between the two nearest values. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}
