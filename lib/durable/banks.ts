import type { DurableWords } from './durable-words.js';

/** Where banks lie among words. */
export interface BanksPlace {
  /** Words of one bank. */
  readonly bankWords: number;
  /** First word of the first bank; the second one follows it. */
  readonly first: number;
  /** Which bit of word 0 selects the bank that counts; the other bits are the caller's. */
  readonly bit: number;
}

/** Two banks of words, one of which counts. A change is written into the other one, and one store of word 0 makes that one count. */
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

  /** First word of the bank that counts. */
  get current(): number {
    return this.#first + this.#selected * this.#bankWords;
  }

  /** First word of the bank that does not count, for a change. What stands there is older. */
  get other(): number {
    return this.#first + (this.#selected ^ 1) * this.#bankWords;
  }

  /** Copies the bank that counts into the other one, for a change of a part of it. @returns the first word of the copy. */
  draft(): number {
    const { other } = this;
    this.#words.move(other, this.current, this.#bankWords);
    return other;
  }

  /** Makes the other bank count. @param rest the other bits of word 0. */
  commit(rest = 0): void {
    this.#words.commit(0, rest | ((this.#selected ^ 1) << this.#bit));
  }

  get #selected(): number {
    return (this.#words.view[0] >>> this.#bit) & 1;
  }
}
