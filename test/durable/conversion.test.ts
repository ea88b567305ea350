import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { converted } from '../../lib/durable/conversion.js';
import { JOURNAL_VERSIONS, type JournalLayout, LAYOUTS } from '../../lib/durable/layout.js';

const KINDS = ['vif', 'queue'] as const;

/** The layout of a later version: the same parts in another order, with new ones between them, and the arenas the other way round. */
function moved({ words, arenas, bytes }: JournalLayout): JournalLayout {
  const [head, ...others] = words.parts;
  const parts = [head!];
  let end = head!.words;
  const add = (part: JournalLayout['words']['parts'][number]) => {
    parts.push({ ...part, at: end });
    end += part.words;
  };
  for (const [i, part] of others.reverse().entries()) {
    add({ name: `new${i}`, at: 0, words: 3, shape: 3 });
    add(part);
  }
  let behind = Math.ceil((end * 4) / 4096) * 4096;
  const turned: Record<string, { at: number; bytes: number }> = {};
  for (const [name, arena] of Object.entries(arenas).reverse()) {
    turned[name] = { at: behind, bytes: arena.bytes };
    behind += Math.ceil(arena.bytes / 4096) * 4096;
  }
  const at = Object.fromEntries(parts.map(({ name, at: place }) => [name, place]));
  return { words: { at, words: end, parts }, arenas: turned, bytes: Math.max(behind, bytes) };
}

/** Noise in all words that the layout names, and 0 elsewhere. */
function contentOf({ words, arenas, bytes }: JournalLayout, seed: number): Uint8Array {
  const content = new Uint8Array(bytes);
  const noise = (at: number, count: number) => {
    for (let i = 0; i < count; i++) content[at + i] = ((i + seed) * 0x9e3779b1) >>> 24;
  };
  noise(0, words.words * 4);
  for (const { at, bytes: count } of Object.values(arenas)) noise(at, count);
  return content;
}

describe('a journal in another layout', () => {
  it.each(KINDS)('has all that both layouts name, wherever it lies: a %s', (kind) => {
    const layout = LAYOUTS[8][kind];
    const next = moved(layout);
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const content = contentOf(layout, seed);
        new Uint32Array(content.buffer)[1] = 8;
        const there = converted(content, layout, next, 8);
        expect(there.length).toBe(next.bytes);
        expect(Buffer.compare(converted(there, next, layout, 8), content)).toBe(0);
      }),
      { numRuns: 5 },
    );
  });

  it.each(KINDS.flatMap((kind) => JOURNAL_VERSIONS.map((from) => [kind, from] as const)))(
    'a %s of version %i: goes to each version that there is, and keeps what it has there',
    (kind, from) => {
      for (const to of JOURNAL_VERSIONS) {
        const content = contentOf(LAYOUTS[from][kind], from);
        const there = new Uint32Array(converted(content, LAYOUTS[from][kind], LAYOUTS[to][kind], to).buffer);
        const here = new Uint32Array(content.buffer);
        expect(there[1]).toBe(to);
        for (const part of LAYOUTS[to][kind].words.parts) {
          const old = LAYOUTS[from][kind].words.parts.find(({ name }) => name === part.name);
          const words = [...there.subarray(part.at, part.at + part.words)];
          if (part.name === 'head') continue;
          expect(words).toEqual(
            old === undefined ? words.map(() => 0) : [...here.subarray(old.at, old.at + old.words)],
          );
        }
      }
    },
  );

  it('is refused where a part has another size: such a version needs a conversion of its own', () => {
    const layout = LAYOUTS[8].vif;
    const parts = layout.words.parts.map((part) =>
      part.name === 'resumes' ? { ...part, words: 2, shape: 2 } : part,
    );
    const other = { ...layout, words: { ...layout.words, parts } };
    expect(() => converted(new Uint8Array(layout.bytes), layout, other, 8)).toThrow(/^resumes has 1 words/);
  });
});
