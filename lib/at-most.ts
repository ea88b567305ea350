interface Waiting {
  start(): void;
  reject(error: unknown): void;
}

/** Runs at most `most` pieces of work at a time; the others wait, in order. The caller must bound the number of those (`waiting`). */
export class AtMost {
  readonly #most: number;
  #running = 0;
  #waiting: Waiting[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#most)
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push({ start: resolve, reject });
      });
    else this.#running += 1;
    try {
      return await work();
    } finally {
      // The place passes to the next piece without a decrement, so that new work cannot overtake work that waits.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next.start();
    }
  }

  /** Rejects the work that waits; running work is left to end. */
  rejectWaiting(error: unknown): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
