import { align } from '../programs/docs.js';
import { type Figure, type Line, nameOf, type Spread } from './figures.js';
import type { Report } from './report.js';

/** With fewer processes there is no spread to compare by. */
const PROCESSES_MIN = 3;

export type Verdict = 'faster' | 'slower' | 'same' | 'unknown';

/** A ratio to C++ in a saved run and now. */
export interface Change {
  readonly row: string;
  readonly loop: string;
  readonly saved: Spread;
  readonly now: Spread;
  /** `same`: the two differ by no more than their spreads. `unknown`: one of them is of too few processes. */
  readonly verdict: Verdict;
}

/** @returns a Change for each ratio that both runs have. */
export function compare(saved: Report, now: Report): Change[] {
  return [
    ...changesOf('', saved.lines, now.lines),
    ...changesOf('into a tap, ', linesIn(saved), linesIn(now)),
  ];
}

function linesIn({ tap }: Report): readonly Line[] {
  return typeof tap === 'string' ? [] : tap;
}

function changesOf(prefix: string, saved: readonly Line[], now: readonly Line[]): Change[] {
  const before = new Map(saved.map((line) => [nameOf(line), line]));
  return now.flatMap((line) =>
    Object.entries(line.figures).flatMap(([loop, figure]) => {
      const old = before.get(nameOf(line))?.figures[loop];
      if (old?.ratio === undefined || figure.ratio === undefined) return [];
      const row = prefix + nameOf(line);
      return [{ row, loop, saved: old.ratio, now: figure.ratio, verdict: verdictOf(old, figure) }];
    }),
  );
}

function verdictOf(saved: Figure, now: Figure): Verdict {
  const [before, after] = [saved.ratio, now.ratio];
  const isKnown = Math.min(saved.processes, now.processes) >= PROCESSES_MIN;
  if (before === undefined || after === undefined || !isKnown) return 'unknown';
  // Each median is outside of the middle half of the other run's processes.
  if (after.median > before.high && before.median < after.low) return 'slower';
  if (after.median < before.low && before.median > after.high) return 'faster';
  return 'same';
}

const VERDICTS: Readonly<Record<Verdict, string>> = {
  faster: 'faster',
  slower: 'SLOWER',
  same: 'within the spread',
  unknown: 'too few processes',
};

export function compareText(saved: Report, now: Report, changes: readonly Change[]): string {
  const { date, commit } = saved.where;
  const text = (of: Spread) => `${of.median.toFixed(2)} (${of.low.toFixed(2)}-${of.high.toFixed(2)})`;
  const rows = changes.map(({ row, loop, saved: before, now: after, verdict }) => {
    const percent = (after.median / before.median - 1) * 100;
    const sign = percent < 0 ? '' : '+';
    return [row, loop, text(before), text(after), `${sign}${percent.toFixed(0)} %`, VERDICTS[verdict]];
  });
  const count = (verdict: Verdict) => changes.filter((change) => change.verdict === verdict).length;
  const sum = `${count('faster')} faster, ${count('slower')} slower, ${count('same')} within the spread`;
  const table = align([['ratio to C++', 'loop', 'saved', 'now', 'change', ''], ...rows]);
  const notes = [`Load: ${saved.where.load}, now ${now.where.load}.`];
  if (saved.quick !== now.quick)
    notes.push('Only one of the two runs was --quick: its rounds are shorter, and so slower.');
  return `Compared with the run of ${date}, commit ${commit}: ${sum}\n${notes.join(' ')}\n${table}`;
}
