interface Waiting {
  start(): void;
  reject(error: unknown): void;
}

/** Runs so many pieces of work at a time; the others wait for their turn, in order. */
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
      // The turn goes to who waits longest, so nobody who comes now can take it.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next.start();
    }
  }

  /** Rejects what waits; what runs ends by itself. */
  rejectWaiting(error: unknown): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
