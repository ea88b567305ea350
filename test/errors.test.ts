import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERROR_ROWS, type ErrorRow } from '../lib/error-table.js';

interface Writer {
  withTable(page: string, rows: Readonly<Record<string, ErrorRow>>): string;
}

const root = new URL('../', import.meta.url);
const { withTable }: Writer = await import(new URL('scripts/errors/table.mjs', root).href);
const page = readFileSync(new URL('docs/errors.md', root), 'utf8');

describe('docs/errors.md', () => {
  it('has the rows of lib/error-table.ts: `npm run errors` writes them', () => {
    expect(withTable(page, ERROR_ROWS)).toBe(page);
  });

  it('differs when a row is changed, added or removed', () => {
    const { ERR_TAP, ...others } = ERROR_ROWS;
    const row = { when: 'x', remedy: 'y' };
    for (const rows of [{ ...others, ERR_TAP: row }, { ...ERROR_ROWS, ERR_NEW: row }, others])
      expect(withTable(page, rows)).not.toBe(page);
  });

  it('is not written when its marks are missing', () => {
    expect(() => withTable('# Error codes\n', ERROR_ROWS)).toThrow('put them back');
  });
});

describe('the table of error codes', () => {
  const rows = Object.entries<ErrorRow>(ERROR_ROWS);

  const uses = readdirSync(new URL('lib', root), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && file !== 'error-table.ts' && !file.startsWith('testing/'))
    .flatMap((file) => [...readFileSync(new URL(`lib/${file}`, root), 'utf8').matchAll(/'(ERR_[A-Z_]+)'/g)])
    .map(([, code]) => code);

  it('has a row for each code that lib/ uses, and no other', () => {
    expect(rows.map(([code]) => code).sort()).toEqual([...new Set(uses)].sort());
  });

  it.each(rows)('has whole sentences for %s, in one cell each', (_code, { when, remedy }) => {
    for (const text of [when, remedy]) {
      expect(text).toMatch(/^(`vifd |`Vif|vifd |xenstored |[A-Z]).*\.$/);
      expect(text).not.toMatch(/[|\n]/);
    }
  });
});
