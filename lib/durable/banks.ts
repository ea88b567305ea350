import type { DurableWords } from './durable-words.js';

/** Where two banks lie among the words of a journal. */
export interface BanksPlace {
  /** Words of one bank. */
  readonly bankWords: number;
  /** First word of the first bank; the second one follows it. */
  readonly first: number;
  /** The bit of word 0 that selects the valid bank; the caller uses the other bits. */
  readonly bit: number;
}

/**
 * Two banks of words, one of which is valid. A change is written into the other bank; then one store of word 0 makes that bank the valid
 * one.
 */
export class Banks {
  readonly #words: DurableWords;
  readonly #bankWords: number;
  readonly #first: number;
  readonly #bit: number;

  constructor(words: DurableWords, { bankWords, first, bit }: BanksPlace) {
    this.#words = words;
    this.#bankWords = bankWords;
    this.#first = first;
    this.#bit = bit;
  }

  /** First word of the valid bank. */
  get current(): number {
    return this.#first + this.#selected * this.#bankWords;
  }

  /** First word of the other bank, for a change. Its content is out of date. */
  get other(): number {
    return this.#first + (this.#selected ^ 1) * this.#bankWords;
  }

  /** Copies the valid bank into the other one, for a change of a part of it. @returns the first word of the copy. */
  draft(): number {
    const { other } = this;
    this.#words.move(other, this.current, this.#bankWords);
    return other;
  }

  /** Makes the other bank the valid one. @param rest the other bits of word 0. */
  commit(rest = 0): void {
    this.#words.commit(0, rest | ((this.#selected ^ 1) << this.#bit));
  }

  get #selected(): number {
    return (this.#words.view[0] >>> this.#bit) & 1;
  }
}
