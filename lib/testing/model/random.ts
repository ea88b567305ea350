/** Numbers that look random and are the same in every run with the same seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** @returns an integer in [0, limit). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }
}

/**
 * Returns the numbers [reserved, 2^bits) in a scattered order. A returned number is used again only after every other one, so that a late use
 * of it finds that it does not exist.
 */
export class NumberPool {
  readonly #size: number;
  readonly #reserved: number;
  readonly #stride: number;
  readonly #start: number;
  #fresh = 0;
  #returned: number[] = [];
  #oldest = 0;

  constructor(random: Random, bits: number, reserved: number) {
    this.#size = 2 ** bits;
    this.#reserved = reserved;
    this.#start = random.below(this.#size);
    // An odd stride visits each number of a power of two once.
    this.#stride = random.below(this.#size) | 1;
  }

  /** @returns undefined when all are in use. */
  take(): number | undefined {
    while (this.#fresh < this.#size) {
      const number = (this.#start + this.#fresh * this.#stride) % this.#size;
      this.#fresh += 1;
      if (number >= this.#reserved) return number;
    }
    return this.#takeOldest();
  }

  give(number: number): void {
    this.#returned.push(number);
  }

  #takeOldest(): number | undefined {
    if (this.#oldest === this.#returned.length) return undefined;
    const number = this.#returned[this.#oldest] as number;
    this.#oldest += 1;
    if (this.#oldest > 1024) {
      this.#returned = this.#returned.slice(this.#oldest);
      this.#oldest = 0;
    }
    return number;
  }
}
