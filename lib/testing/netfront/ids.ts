import type { Xorshift } from './random.js';

/** Request ids in [0, size), in a random order, so that a backend that guesses ids fails. */
export class IdPool {
  readonly #free: Uint16Array;
  readonly #random: Xorshift;
  #count: number;

  constructor(size: number, random: Xorshift) {
    this.#free = Uint16Array.from({ length: size }, (_, id) => id);
    this.#random = random;
    this.#count = size;
  }

  get available(): number {
    return this.#count;
  }

  /** Returns a free id. Call it only while `available` > 0. */
  take(): number {
    const at = this.#random.below(this.#count);
    const id = this.#free[at] as number;
    this.#count -= 1;
    this.#free[at] = this.#free[this.#count] as number;
    return id;
  }

  give(id: number): void {
    this.#free[this.#count] = id;
    this.#count += 1;
  }
}
