import { describe, expect, it } from 'vitest';
import { Banks } from '../../lib/durable/banks.js';
import { DurableWords } from '../../lib/durable/durable-words.js';

/** All contents that a kill at some step of `change` leaves, in their order. */
function leftBy(before: readonly number[], change: (words: DurableWords) => void): number[][] {
  const left: number[][] = [];
  for (let at = 1; ; at++) {
    const memory = Uint32Array.from(before);
    let steps = 0;
    const words = new DurableWords(memory, () => {
      if (++steps === at) throw new Error('killed');
    });
    try {
      change(words);
      return left;
    } catch {
      left.push([...memory]);
    }
  }
}

describe('durable words', () => {
  it.each<[string, (words: DurableWords) => void, number[][]]>([
    ['a word', (words) => words.store(1, 9), [[1, 9, 3, 4]]],
    ['a word that makes others count', (words) => words.commit(1, 9), [[1, 9, 3, 4]]],
    ['two words at once', (words) => words.commitPair(2, 7, 8), [[1, 2, 7, 8]]],
    [
      'words one after the other',
      (words) => words.copy(1, [7, 8], 2),
      [
        [1, 7, 3, 4],
        [1, 7, 8, 4],
      ],
    ],
    [
      'words from elsewhere in them',
      (words) => words.move(2, 0, 2),
      [
        [1, 2, 1, 4],
        [1, 2, 1, 2],
      ],
    ],
    [
      'bytes',
      (words) => words.copyBytes(4, [9, 0, 0, 0, 8, 0, 0, 0], 8),
      [
        [1, 9, 3, 4],
        [1, 9, 8, 4],
      ],
    ],
    [
      'nothing',
      (words) => words.clear(0, 2),
      [
        [0, 2, 3, 4],
        [0, 0, 3, 4],
      ],
    ],
  ])('can be killed after each store of %s', (_what, change, left) => {
    expect(leftBy([1, 2, 3, 4], change)).toEqual(left);
  });

  it('of a part are the same memory, with the same steps', () => {
    let steps = 0;
    const memory = new Uint32Array(4);
    const part = new DurableWords(memory, () => steps++).part(2, 2);
    part.store(1, 5);
    part.part(0, 1).store(0, 6);
    expect([[...memory], steps, part.length]).toEqual([[0, 0, 6, 5], 2, 2]);
  });

  it('that end with the process have an 8-byte store at their second word', () => {
    const words = DurableWords.ofProcess(3);
    words.commitPair(1, 0xffff_fffe, 3);
    expect([words.view[0], words.view[1], words.view[2]]).toEqual([0, 0xffff_fffe, 3]);
  });
});

describe('two banks', () => {
  const place = { first: 1, bankWords: 2, bit: 4 };

  it('have the old content or the new one, wherever a kill falls', () => {
    const seen = leftBy([0, 1, 2, 0, 0], (words) => {
      const banks = new Banks(words, place);
      const at = banks.draft();
      words.store(at, 5);
      banks.commit();
    }).map((memory) => {
      const words = new DurableWords(Uint32Array.from(memory));
      const { current } = new Banks(words, place);
      return [words.view[current], words.view[current + 1]];
    });
    expect(new Set(seen.map(String))).toEqual(new Set(['1,2', '5,2']));
    expect(seen.slice(0, -1).every(([first]) => first === 1)).toBe(true);
  });

  it('leave the other bits of their word to the caller', () => {
    const words = new DurableWords(new Uint32Array(5));
    const banks = new Banks(words, place);
    banks.commit(0b1001);
    expect([words.view[0], banks.current, banks.other]).toEqual([0b1_1001, 3, 1]);
    banks.commit(2);
    expect([words.view[0], banks.current, banks.other]).toEqual([2, 1, 3]);
  });
});
