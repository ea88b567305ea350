import picocolors from 'picocolors';
import { FROM_GUEST, TO_GUEST } from '../forms/forms.js';
import { describe } from './difference.js';
import { type Count, type Difference, kindOf, type Tally } from './tally.js';

/** For how many kinds of differences one is printed with its bytes; the table counts all. */
const EXPLAINED_MAX = 12;

export interface Result {
  readonly tally: Tally;
  readonly seed: number;
  readonly seconds: number;
}

export function writeTable({ tally, seed, seconds }: Result): void {
  const terminal = process.stdout.isTTY === true;
  const colors = picocolors.createColors(terminal && process.env.NO_COLOR === undefined);
  const write = (text: string) => process.stdout.write(`${text}\n`);
  const counts = [...tally.counts.values()];
  for (const [direction, how, through] of [
    [FROM_GUEST, 'payload', 'cuts over slots'],
    [TO_GUEST, 'guest', 'port'],
  ] as const) {
    const own = counts.filter((count) => count.direction === direction);
    write(colors.bold(`${direction}: headers x tags (all protocols)`));
    grid(own, 'headers', 'tags', colors).forEach(write);
    write(colors.bold(`${direction}: protocol x ${how} (all headers and tags)`));
    grid(own, 'protocol', 'how', colors).forEach(write);
    write(colors.bold(`${direction}: ${how} x ${through}`));
    grid(own, 'how', 'through', colors).forEach(write);
    write('');
  }
  for (const difference of oneOfAKind(tally.differences).slice(0, EXPLAINED_MAX))
    write(`${describe(difference, seed, colors.red)}\n`);
  const least = Math.min(...counts.map(({ frames }) => frames));
  const { empty } = tally;
  write(`seed ${seed}, ${counts.length} cells, at least ${least} frames in each, ${seconds.toFixed(0)} s`);
  for (const cell of empty.slice(0, EXPLAINED_MAX))
    write(
      colors.red(
        `no frame in: ${[cell.direction, cell.headers, cell.tags, cell.protocol, cell.how, cell.through].join(' | ')}`,
      ),
    );
  if (empty.length > EXPLAINED_MAX) write(colors.red(`and in ${empty.length - EXPLAINED_MAX} cells more`));
  const summary = `${tally.frames} frames, ${tally.differing} differences`;
  write(tally.differing === 0 && empty.length === 0 ? colors.green(summary) : colors.red(summary));
}

type Axis = 'headers' | 'tags' | 'protocol' | 'how' | 'through';

/** @returns lines with the frames of each pair of values, and their differences behind a `!`. */
function grid(
  counts: readonly Count[],
  rows: Axis,
  columns: Axis,
  colors: ReturnType<typeof picocolors.createColors>,
): string[] {
  const across = [...new Set(counts.map((count) => count[columns]))];
  const down = [...new Set(counts.map((count) => count[rows]))];
  const cells = new Map<string, { frames: number; differences: number }>();
  for (const count of counts) {
    const key = `${count[rows]}|${count[columns]}`;
    const cell = cells.get(key) ?? { frames: 0, differences: 0 };
    cell.frames += count.frames;
    cell.differences += count.differences;
    cells.set(key, cell);
  }
  const first = Math.max(...down.map((name) => name.length));
  const text = (row: string, column: string) => {
    const cell = cells.get(`${row}|${column}`);
    if (cell === undefined) return '-';
    const { frames, differences } = cell;
    return differences === 0 ? `${frames}` : `${frames} !${differences}`;
  };
  const widths = across.map((column) =>
    Math.max(column.length, ...down.map((row) => text(row, column).length)),
  );
  const head = `${' '.repeat(first)}  ${across.map((column, index) => column.padStart(widths[index])).join('  ')}`;
  return [
    head,
    ...down.map((row) => {
      const line = across.map((column, index) => {
        const cell = text(row, column).padStart(widths[index]);
        return cell.includes('!') || cell.trim() === '0' ? colors.red(cell) : cell;
      });
      return `${row.padEnd(first)}  ${line.join('  ')}`;
    }),
  ];
}

function oneOfAKind(differences: readonly Difference[]): Difference[] {
  const seen = new Set<string>();
  return differences.filter((difference) => {
    const kind = kindOf(difference);
    if (seen.has(kind)) return false;
    seen.add(kind);
    return true;
  });
}
