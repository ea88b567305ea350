/** Enough to see the batch in which a life ended, and what the next did first. */
const LINES_MAX = 60;

/** The last steps of a run. Text is made only when somebody asks. */
export class Trace {
  readonly #lines: (readonly [life: number, step: number, what: string])[] = [];
  #next = 0;

  step(life: number, step: number, what: string): void {
    this.#lines[this.#next % LINES_MAX] = [life, step, what];
    this.#next += 1;
  }

  note(what: string): void {
    this.step(-1, 0, what);
  }

  /** Oldest first. */
  lines(): string[] {
    const first = Math.max(0, this.#next - LINES_MAX);
    return Array.from({ length: this.#next - first }, (_, i) => {
      const [life, step, what] = this.#lines[(first + i) % LINES_MAX];
      return life < 0 ? what : `life ${life} step ${step}: ${what}`;
    });
  }
}
