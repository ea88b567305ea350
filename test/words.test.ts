import { describe, expect, it } from 'vitest';

interface Prose {
  findWords(file: string, text: string): { line: number; word: string; say: string }[];
  compare(
    counts: ReadonlyMap<string, number>,
    allowed: Readonly<Record<string, number>>,
  ): { more: string[]; fewer: string[] };
}

const { findWords, compare }: Prose = await import(
  new URL('../scripts/words/prose.mjs', import.meta.url).href
);
const wordsIn = (file: string, text: string) =>
  findWords(file, text).map(({ line, word }) => `${line} ${word}`);

describe('the check of words', () => {
  it.each([
    ['a.ts', '/** Its next life goes on. */', ['1 life', '1 goes on']],
    ['a.ts', ' * What is kept.\n * What was told.', ['1 kept', '2 was told']],
    ['a.ts', 'const kept = held; // Held by nobody.', ['1 Held']],
    ['a.cc', '// Answers are redone.', ['1 redone', '1 Answers']],
    ['a.sh', 'let go # lets go', ['1 lets go']],
    ['a.md', 'It says so.\n\nThe guest is told.', ['1 says so', '3 is told']],
  ])('finds in the prose of %s: %s', (file, text, words) => {
    expect(wordsIn(file, text).sort()).toEqual(words.sort());
  });

  it.each([
    ['a.ts', "const life = 'an answer'; answer(kept);"],
    ['a.ts', "const url = 'https://answer.example/life';"],
    ['a.ts', '/** Calls `answer`, see [it](lib/life.ts). */'],
    ['a.md', '```\nthe answer is kept\n```\nThe lifetime of `life`.'],
    ['a.json', '{ "life": "answer" }'],
    ['a.sh', '#!/bin/life'],
  ])('finds nothing in code, names and other files: %s: %s', (file, text) => {
    expect(wordsIn(file, text)).toEqual([]);
  });

  it('names the word to write instead', () => {
    expect(findWords('a.md', 'the answer')).toEqual([{ line: 1, word: 'answer', say: 'respond, response' }]);
  });

  it('fails for a file with more than may stand there, and for a number that can be lowered', () => {
    const counts = new Map(Object.entries({ same: 2, more: 3, new: 1, fewer: 1 }));
    expect(compare(counts, { same: 2, more: 2, fewer: 2, none: 1 })).toEqual({
      more: ['more', 'new'],
      fewer: ['fewer', 'none'],
    });
  });
});
