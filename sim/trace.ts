/** Enough lines for the batch in which a process ended, and for the first steps of the next. */
const LINES_MAX = 60;

/** The last steps of a run. `lines` makes their text. */
export class Trace {
  readonly #lines: (readonly [process: number, step: number, what: string])[] = [];
  #next = 0;

  step(process: number, step: number, what: string): void {
    this.#lines[this.#next % LINES_MAX] = [process, step, what];
    this.#next += 1;
  }

  note(what: string): void {
    this.step(-1, 0, what);
  }

  /** Oldest first. */
  lines(): string[] {
    const first = Math.max(0, this.#next - LINES_MAX);
    return Array.from({ length: this.#next - first }, (_, i) => {
      const [process, step, what] = this.#lines[(first + i) % LINES_MAX];
      return process < 0 ? what : `process ${process} step ${step}: ${what}`;
    });
  }
}
