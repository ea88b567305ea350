import { align } from '../docs.js';
import { median } from '../measure.js';
import { where } from '../where.js';
import { type Effort, type ModeTurns, percentile, type Turn } from './measure.js';

/** A neighbour's ping may take so many times as long as beside the same attack on another vifd. */
export const RATIO_MAX = 2;

/** What one arm found: medians over the rounds. */
export interface ArmReport {
  readonly p50Ms: number;
  /** null: more than one ping in a hundred was lost. */
  readonly p99Ms: number | null;
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
  readonly modes: readonly ModeReport[];
}

export function modeReport({ mode, counts, turns }: ModeTurns): ModeReport {
  const [beside, apart] = [turns.beside, turns.apart].map(armReport) as [ArmReport, ArmReport];
  const known = beside.p99Ms !== null && apart.p99Ms !== null;
  const ratio = known ? (beside.p99Ms as number) / (apart.p99Ms as number) : null;
  return { mode, counts, beside, apart, ratio, holds: ratio !== null && ratio <= RATIO_MAX };
}

function armReport(turns: readonly Turn[]): ArmReport {
  const p99Ms = median(turns.map((turn) => percentile(turn, 0.99)));
  return {
    p50Ms: median(turns.map((turn) => percentile(turn, 0.5))),
    p99Ms: Number.isFinite(p99Ms) ? p99Ms : null,
    lost: turns.reduce((sum, { lost }) => sum + lost, 0),
    rate: median(turns.map(({ rate }) => rate)),
  };
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
  return value === null || !Number.isFinite(value) ? 'lost' : value.toFixed(2);
}

export function neighboursText({ modes, effort }: NeighboursReport): string {
  const { rounds, pings, everyMs } = effort;
  const title = `The victim's pings, ms; medians of ${rounds} rounds of ${pings} pings, one every ${everyMs} ms`;
  return `${title}\n${align([HEAD, ...modes.map(rowOf)])}`;
}

export function report(modes: readonly ModeReport[], effort: Effort): NeighboursReport {
  return { schemaVersion: 1, where: where(), effort, modes };
}
