import { describe, expect, it } from 'vitest';

interface Prose {
  findWords(file: string, text: string): { line: number; word: string; say: string }[];
  compare(
    counts: ReadonlyMap<string, number>,
    allowed: Readonly<Record<string, number>>,
  ): { more: string[]; fewer: string[] };
}

interface Sentences {
  findLongSentences(file: string, text: string): { line: number; words: number; text: string }[];
}

const { findWords, compare }: Prose = await import(
  new URL('../scripts/words/prose.mjs', import.meta.url).href
);
const { findLongSentences }: Sentences = await import(
  new URL('../scripts/words/sentences.mjs', import.meta.url).href
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

describe('the hint for long sentences', () => {
  const words = (count: number) => Array.from({ length: count }, (_, i) => `word${i}`).join(' ');
  const longIn = (file: string, text: string) =>
    findLongSentences(file, text).map(({ line, words }) => `${line} ${words}`);

  it.each([
    ['a.md', `Short one.\n${words(46)}.`, ['2 46']],
    ['a.md', `${words(30)}\n${words(16)}. ${words(30)}\n${words(15)}.`, ['1 46']],
    ['a.ts', `/**\n * ${words(30)}\n * ${words(20)}.\n */`, ['2 50']],
    ['a.ts', `const x = 1;\n// ${words(40)}, e.g. \n// ${words(20)}`, ['2 61']],
    ['a.sh', `# ${words(50)}`, ['1 50']],
  ])('finds in %s: %s', (file, text, long) => {
    expect(longIn(file, text)).toEqual(long);
  });

  it.each([
    ['a.md', `${words(45)}.`],
    ['a.md', `${words(40)}\n\n${words(40)}`],
    ['a.md', `- ${words(40)}\n- ${words(40)}\n| ${words(30)} | ${words(30)} |`],
    ['a.md', `\`\`\`\n${words(60)}\n\`\`\`\n${words(40)} \`${words(20)}\`.`],
    ['a.ts', `/** ${words(40)}\n * @param x ${words(40)} */`],
    ['a.ts', `one, // ${words(30)}\ntwo, // ${words(30)}`],
    ['a.ts', `const text = '${words(60)}';`],
  ])('takes each paragraph, item, row, tag and comment by itself: %s: %s', (file, text) => {
    expect(longIn(file, text)).toEqual([]);
  });
});
