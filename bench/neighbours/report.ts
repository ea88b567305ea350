import { loadavg } from 'node:os';
import { align } from '../docs.js';
import { median } from '../measure.js';
import { where } from '../where.js';
import { type Effort, type ModeTurns, percentile, type Turn } from './measure.js';
import type { ShareReport } from './shares.js';

/** A neighbour's ping may take so many times as long as beside the same attack on another vifd. */
export const RATIO_MAX = 2;

/** What one arm found: medians over the rounds. */
export interface ArmReport {
  /** null, here and below: so many pings were lost that it is infinite. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Of each round. */
  readonly p99sMs: readonly (number | null)[];
  readonly lost: number;
  readonly rate: number;
}

export interface ModeReport {
  readonly mode: string;
  readonly counts: string;
  readonly beside: ArmReport;
  readonly apart: ArmReport;
  /** Of the medians of p99; null: one of them is infinite. */
  readonly ratio: number | null;
  readonly holds: boolean;
}

export interface NeighboursReport {
  readonly schemaVersion: 1;
  readonly where: Readonly<Record<string, string>>;
  readonly effort: Effort;
  /** The host's load average over a minute, at the end: this bench alone makes about 3. */
  readonly load: number;
  readonly modes: readonly ModeReport[];
  readonly shares: readonly ShareReport[];
}

export function modeReport({ mode, counts, turns }: ModeTurns): ModeReport {
  const [beside, apart] = [turns.beside, turns.apart].map(armReport) as [ArmReport, ArmReport];
  const known = beside.p99Ms !== null && apart.p99Ms !== null;
  const ratio = known ? (beside.p99Ms as number) / (apart.p99Ms as number) : null;
  return { mode, counts, beside, apart, ratio, holds: ratio !== null && ratio <= RATIO_MAX };
}

function armReport(turns: readonly Turn[]): ArmReport {
  const p99sMs = turns.map((turn) => percentile(turn, 0.99));
  return {
    p50Ms: finite(median(turns.map((turn) => percentile(turn, 0.5)))),
    p99Ms: finite(median(p99sMs)),
    p99sMs: p99sMs.map(finite),
    lost: turns.reduce((sum, { lost }) => sum + lost, 0),
    rate: median(turns.map(({ rate }) => rate)),
  };
}

/** JSON knows no infinity. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

const HEAD = [
  'attack',
  'p50',
  'apart',
  'p99',
  'apart',
  'ratio',
  'lost',
  'apart',
  'rate /s',
  'apart',
  'of',
  '',
];

function rowOf({ mode, counts, beside, apart, ratio, holds }: ModeReport): string[] {
  const both = (cell: (arm: ArmReport) => string) => [cell(beside), cell(apart)];
  return [
    mode,
    ...both(({ p50Ms }) => ms(p50Ms)),
    ...both(({ p99Ms }) => ms(p99Ms)),
    ratio?.toFixed(1) ?? '-',
    ...both(({ lost }) => `${lost}`),
    ...both(({ rate }) => rate.toFixed(0)),
    counts,
    holds ? 'ok' : 'TOO MUCH',
  ];
}

function ms(value: number | null): string {
  return value === null ? 'lost' : value.toFixed(2);
}

export function neighboursText(result: NeighboursReport): string {
  const tables = [
    result.modes.length > 0 ? modesText(result) : '',
    result.shares.length > 0 ? sharesText(result) : '',
  ];
  return `${tables.filter((table) => table !== '').join('\n\n')}\nload average ${result.load.toFixed(1)}`;
}

function modesText({ modes, effort }: NeighboursReport): string {
  const { rounds, pings, everyMs } = effort;
  const title = `The victim's pings, ms; medians of ${rounds} rounds of ${pings} pings, one every ${everyMs} ms`;
  return `${title}\n${align([HEAD, ...modes.map(rowOf)])}`;
}

function sharesText({ shares, effort }: NeighboursReport): string {
  const rows = shares.map(({ queues: [first, second], kpps, ratio }) => [
    `${first} queue beside ${second}`,
    ...kpps.map((value) => value.toFixed(0)),
    ratio.toFixed(2),
  ]);
  const title = `Two guests that flood with frames of 60 bytes, thousands a second; medians of ${effort.rounds} rounds`;
  return `${title}\n${align([['queues', 'first', 'second', 'ratio'], ...rows])}`;
}

export function report(found: Pick<NeighboursReport, 'effort' | 'modes' | 'shares'>): NeighboursReport {
  return { schemaVersion: 1, where: where(), load: loadavg()[0], ...found };
}
