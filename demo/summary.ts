import type { Comparison } from './comparison.js';
import type { DemoOptions } from './options.js';
import type { Recorder, Restart } from './recorder.js';

export interface Summary {
  readonly schemaVersion: 1;
  readonly event: 'summary';
  readonly world: 'namespaces' | 'model';
  /** Why the demo ran on the model. */
  readonly because?: string;
  readonly guests: number;
  readonly payload: 'map' | 'copy';
  /** With `--workers`: how many. A restart is the end of one of these. */
  readonly workers?: number;
  readonly seconds: number;
  readonly interrupted: boolean;
  readonly restarts: { readonly total: number; readonly SIGTERM: number; readonly SIGKILL: number };
  readonly resets: number;
  readonly differingBytes: number;
  readonly violations: number;
  readonly gapMs: Spread;
  /** The longest silence of a stream before the first restart. */
  readonly quietGapMs: number;
  /** From the end of a process to the moment at which the next serves every guest. */
  readonly attachMs: Spread;
  /** For a run with a number of kills: each kill's gap and attachment, in order. */
  readonly kills?: { readonly gapMs: readonly number[]; readonly attachMs: readonly number[] };
  readonly bytes: number;
  readonly comparison?: Comparison;
  readonly complaints: readonly string[];
}

export interface Spread {
  readonly longest: number;
  readonly median: number;
}

export interface SummaryFacts {
  readonly options: DemoOptions;
  readonly world: 'namespaces' | 'model';
  readonly because: string | undefined;
  readonly interrupted: boolean;
  readonly comparison: Comparison | undefined;
}

export function summarize(recorder: Recorder, facts: SummaryFacts): Summary {
  const { options, because, comparison } = facts;
  const count = (ending: Restart['ending']) =>
    recorder.restarts.filter((one) => one.ending === ending).length;
  return {
    schemaVersion: 1,
    event: 'summary',
    world: facts.world,
    ...(because === undefined ? {} : { because }),
    guests: options.guests,
    payload: options.payload,
    ...(options.workers === undefined ? {} : { workers: options.workers }),
    seconds: options.seconds,
    interrupted: facts.interrupted,
    restarts: { total: recorder.restarts.length, SIGTERM: count('SIGTERM'), SIGKILL: count('SIGKILL') },
    resets: recorder.resets,
    differingBytes: recorder.differingBytes,
    violations: recorder.violations,
    gapMs: spread(recorder.restarts.map((one) => one.gapMs)),
    quietGapMs: tenths(recorder.quietGapMs),
    attachMs: spread(recorder.restarts.map((one) => one.attachMs).filter((ms) => ms !== undefined)),
    ...(options.kills === undefined ? {} : { kills: killsOf(recorder) }),
    bytes: recorder.bytes,
    ...(comparison === undefined ? {} : { comparison }),
    complaints: recorder.complaints.slice(0, 10),
  };
}

function killsOf({ restarts }: Recorder): NonNullable<Summary['kills']> {
  const done = restarts.filter(({ attachMs }) => attachMs !== undefined);
  return {
    gapMs: done.map(({ gapMs }) => tenths(gapMs)),
    attachMs: done.map(({ attachMs }) => tenths(attachMs ?? 0)),
  };
}

export function isClean(summary: Summary): boolean {
  return summary.resets === 0 && summary.differingBytes === 0 && summary.violations === 0;
}

export function summaryText(summary: Summary): string {
  const { restarts, gapMs, attachMs } = summary;
  const model = summary.world === 'model';
  const rows: [string, string, string][] = [
    [
      summary.workers === undefined ? 'backend restarts' : 'workers ended',
      `${restarts.total}`,
      `SIGTERM ${restarts.SIGTERM}, SIGKILL ${restarts.SIGKILL}`,
    ],
    [model ? 'guests disconnected' : 'TCP connections reset', `${summary.resets}`, ''],
    [model ? 'frames damaged' : 'bytes that differ', `${summary.differingBytes}`, ''],
    ['frontend violations', `${summary.violations}`, 'what a Linux guest would not forgive'],
    [
      'longest gap',
      `${gapMs.longest}`,
      `ms without a byte; ${summary.quietGapMs} ms before the first restart`,
    ],
    ['median gap', `${gapMs.median}`, 'ms'],
    ['back in service after', `${attachMs.median}`, `ms median, ${attachMs.longest} ms longest`],
    ['moved', (summary.bytes / 1e9).toFixed(2), 'GB'],
  ];
  rows.push(...comparisonRows(summary.comparison));
  const [left, right] = [0, 1].map((column) => Math.max(...rows.map((row) => row[column as 0 | 1].length)));
  const lines = rows.map(
    ([what, value, note]) => `${what.padEnd(left ?? 0)}  ${value.padStart(right ?? 0)}  ${note}`,
  );
  const complaints = summary.complaints.map((complaint) => `! ${complaint}`);
  return [...lines, ...complaints].map((line) => `${line.trimEnd()}\n`).join('');
}

function comparisonRows(comparison: Comparison | undefined): [string, string, string][] {
  if (comparison === undefined) return [];
  if ('skipped' in comparison) return [['iperf3', '-', comparison.skipped]];
  return [
    ['iperf3 through vifd', comparison.vifdGbits.toFixed(2), 'Gbit/s, guest to guest, no restarts'],
    ['iperf3 without it', comparison.bridgeGbits.toFixed(2), 'Gbit/s, the same over veth and a Linux bridge'],
    ['ratio', comparison.ratio.toFixed(2), ''],
  ];
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  const median = sorted.length % 2 === 0 ? (upper + (sorted[middle - 1] ?? 0)) / 2 : upper;
  return { longest: tenths(sorted.at(-1) ?? 0), median: tenths(median) };
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}
