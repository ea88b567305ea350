import type { PayloadMode } from '../../lib/netback/settings.js';
import type { Arrived, Found } from './version-checks.js';

interface Cell {
  readonly end: string;
  readonly writer: string;
  readonly reader: string;
  readonly payload: PayloadMode;
  /** stopped: the vif has stopped. */
  readonly found: Found | 'stopped';
}

const HEAD = [
  'the backend before',
  'left by',
  'found by',
  'payload',
  'to guest',
  'from guest',
  'hash',
  'multicast',
  'staged',
  'credit',
];

/** The result of each pair of builds, as text. */
export class VersionTable {
  readonly #cells: Cell[] = [];

  add(cell: Cell): void {
    this.#cells.push(cell);
  }

  /** Returns a line for each end and pair of builds; one for both payload modes if they do not differ. */
  text(): string {
    const rows: string[][] = [];
    for (const { end, writer, reader, payload, found } of this.#cells.toSorted(byEnd(this.#cells))) {
      const row = [end, writer, reader, payload, ...columnsOf(found)];
      const before = rows.at(-1);
      const isSame = before?.every((text, column) => column === 3 || text === row[column]) ?? false;
      if (before !== undefined && isSame) before[3] = `${before[3]}, ${payload}`;
      else rows.push(row);
    }
    const widths = HEAD.map((title, column) =>
      Math.max(title.length, ...rows.map((row) => row[column]!.length)),
    );
    const line = (row: readonly string[]) =>
      row
        .map((text, i) => text.padEnd(widths[i]!))
        .join('  ')
        .trimEnd();
    return [line(HEAD), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
  }
}

/** Ends in the order in which they first came. */
function byEnd(cells: readonly Cell[]): (a: Cell, b: Cell) => number {
  const ends = [...new Set(cells.map(({ end }) => end))];
  return (a, b) => ends.indexOf(a.end) - ends.indexOf(b.end);
}

function columnsOf(found: Found | 'stopped'): string[] {
  if (found === 'stopped') return ['the vif is stopped', ...Array<string>(5).fill('')];
  const { toGuest, fromGuest, hash, multicast, staged, credit } = found;
  const kept = (is: boolean) => (is ? 'kept' : 'lost');
  return [
    arrived(toGuest),
    arrived(fromGuest),
    kept(hash),
    kept(multicast),
    `${staged.mapped} of ${staged.of}`,
    `${credit}`,
  ];
}

function arrived({ of, came, repeated }: Arrived): string {
  if (of === 0) return 'none';
  return `${came} of ${of}${repeated === 0 ? '' : `, ${repeated} twice`}`;
}
