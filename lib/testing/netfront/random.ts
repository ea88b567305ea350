/** Numbers that look random and are the same in every run with the same seed (xorshift32, Marsaglia 2003). */
export class Xorshift {
  #state: number;

  constructor(seed: number) {
    // xorshift never leaves zero, and close seeds must not give close sequences.
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0 || 1;
  }

  /** @returns a u32. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  /** @returns an integer in [0, limit). */
  below(limit: number): number {
    return this.next() % limit;
  }
}
