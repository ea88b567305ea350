import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

interface Row {
  readonly feature: string;
  readonly vifd: string;
  readonly test: string;
}

function rowsOf(text: string): Row[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| ---'))
    .slice(1)
    .map((line) => {
      const cells = line.split('|').map((cell) => cell.trim());
      return { feature: cells[1], vifd: cells[2], test: cells.at(-2) ?? '' };
    });
}

describe('docs/features.md', () => {
  const rows = rowsOf(readFileSync('docs/features.md', 'utf8'));

  it('has a table', () => expect(rows.length).toBeGreaterThan(30));

  it.each(rows.filter(({ vifd }) => vifd !== '-'))('names a test that is there for $feature', ({ test }) => {
    const [, file, title] = /^`(test\/[^`]+\.test\.ts|lab\/tests\/[^`]+\.ts)`: (.+)$/.exec(test) ?? [];
    expect(file, `the last cell is ${JSON.stringify(test)}`).toBeDefined();
    expect(existsSync(file)).toBe(true);
    expect(readFileSync(file, 'utf8').includes(title), `${file} has no ${title}`).toBe(true);
  });
});
