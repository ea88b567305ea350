import { readFileSync, writeFileSync } from 'node:fs';

const FILE = 'docs/benchmarks.md';

/** Puts `text` between the marks of `section` in docs/benchmarks.md, and leaves the text around the marks unchanged. */
export function writeSection(section: string, text: string): void {
  writeFileSync(FILE, replaceSection(readFileSync(FILE, 'utf8'), section, text));
}

/** @throws if the page has no such marks. */
export function replaceSection(page: string, section: string, text: string): string {
  const [begin, end] = [`<!-- begin ${section} -->`, `<!-- end ${section} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${FILE} has no lines ${begin} and ${end}: put them back`);
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`;
}

export function factsTable(facts: Readonly<Record<string, string>>): string {
  const rows = Object.entries(facts).map(([name, value]) => `| ${name} | ${value} |`);
  return ['| | |', '| --- | --- |', ...rows].join('\n');
}

/** Aligns the first column to the left, figures to the right. */
export function align(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    widths.map((width, i) => (i === 0 ? row[i].padEnd(width) : row[i].padStart(width + 2))).join('');
  return rows.map((row) => line(row).trimEnd()).join('\n');
}
