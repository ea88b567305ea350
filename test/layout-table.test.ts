import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LAYOUTS } from '../lib/durable/layout.js';

const { withLayoutTable } = await import(`${process.cwd()}/scripts/layout/table.mjs`);
const document = readFileSync('docs/journal.md', 'utf8');

describe("the journals' layout in docs/journal.md", () => {
  it('is that of lib/durable/layout.ts: `npm run layout` writes it', () => {
    expect(withLayoutTable(document, LAYOUTS)).toBe(document);
  });

  it('is another where a part has moved, or has other words', () => {
    const { vif } = LAYOUTS[8];
    const withPart = (change: object) => {
      const [head, multicast, ...rest] = vif.words.parts;
      const parts = [head, { ...multicast, ...change }, ...rest];
      return { ...LAYOUTS, 8: { ...LAYOUTS[8], vif: { ...vif, words: { ...vif.words, parts } } } };
    };
    expect(withLayoutTable(document, withPart({}))).toBe(document);
    expect(withLayoutTable(document, withPart({ at: 20 }))).not.toBe(document);
    expect(withLayoutTable(document, withPart({ shape: 7 }))).not.toBe(document);
  });

  it('has a place that the script finds', () => {
    expect(() => withLayoutTable('no markers', LAYOUTS)).toThrow(
      'the markers of the layout table are missing',
    );
  });
});
