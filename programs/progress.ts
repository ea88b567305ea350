const EVERY_MS = 100;
/** How often a line is written where lines stay, as in a log. */
const EVERY_PLAIN_MS = 15_000;

/** Shows the present work on stderr: one line that is drawn over; if stderr is no terminal, a line now and then. */
export class Progress {
  readonly #drawn = process.stderr.isTTY === true;
  #lastMs = performance.now();

  say(text: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < (this.#drawn ? EVERY_MS : EVERY_PLAIN_MS)) return;
    this.#lastMs = nowMs;
    process.stderr.write(this.#drawn ? `\r${text}\x1b[K` : `${text}\n`);
  }

  end(): void {
    if (this.#drawn) process.stderr.write('\r\x1b[K');
  }
}
