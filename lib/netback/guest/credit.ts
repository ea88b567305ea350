import type { DurableWords, ReadonlyWords } from '../../durable/durable-words.js';
import { CREDIT } from '../../durable/layout.js';
import { quoted } from '../../text.js';

/** How much a guest may send: so many bytes in each interval. */
export interface Rate {
  readonly bytes: number;
  readonly intervalMs: number;
}

/** What may come at once after a pause, if an interval brings less (netback.c, tx_add_credit). More than any frame. */
const BURST_BYTES_MIN = 131_072;

const { left: LEFT, end: END } = CREDIT.at;
const HIGH = 2 ** 32;

/**
 * What is left of a guest's rate. It lies in the journal's memory: a restart gives no fresh credit. Intervals follow each
 * other without a gap, so that over many of them the rate is exact; the kernel's begin when somebody looks.
 */
export class Credit {
  readonly #words: DurableWords;
  readonly #view: ReadonlyWords;
  #rate: Rate | undefined;

  /** @param words CREDIT of them. What stands there is believed as far as the rate allows. */
  constructor(words: DurableWords) {
    this.#words = words;
    this.#view = words.view;
  }

  get rate(): Rate | undefined {
    return this.#rate;
  }

  get limited(): boolean {
    return this.#rate !== undefined;
  }

  /** From now on this rate. What is left goes on counting. */
  limit(rate: Rate | undefined, nowMs: number): void {
    this.#rate = rate;
    if (rate === undefined) {
      this.#words.clear();
      return;
    }
    const end = this.#end;
    // New, or of another rate or clock.
    if (end === 0 || end > nowMs + rate.intervalMs) this.#begin(rate, nowMs);
    if (this.#view[LEFT] > burstOf(rate)) this.#words.store(LEFT, burstOf(rate));
  }

  /** Bytes that may be sent at this moment. */
  available(nowMs: number): number {
    const rate = this.#rate;
    if (rate === undefined) return Number.POSITIVE_INFINITY;
    const late = nowMs - this.#end;
    if (late >= 0) {
      const passed = Math.floor(late / rate.intervalMs) + 1;
      // The end first: a kill in between costs the guest what these intervals bring, and gives it nothing twice.
      this.#setEnd(this.#end + passed * rate.intervalMs);
      this.#words.store(LEFT, Math.min(this.#view[LEFT] + passed * rate.bytes, burstOf(rate)));
    }
    return this.#view[LEFT];
  }

  spend(bytes: number): void {
    this.#words.store(LEFT, Math.max(0, this.#view[LEFT] - bytes));
  }

  /** The end of the interval. */
  get endMs(): number {
    return this.#end;
  }

  /** Milliseconds until there is more. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#end - nowMs);
  }

  #begin(rate: Rate, nowMs: number): void {
    // Until the end is stored, what is left does not count.
    this.#words.store(LEFT, rate.bytes);
    this.#setEnd(nowMs + rate.intervalMs);
  }

  get #end(): number {
    return (this.#view[END + 1] * HIGH + this.#view[END]) / 1000;
  }

  #setEnd(endMs: number): void {
    const microseconds = Math.round(endMs * 1000);
    this.#words.commitPair(END, microseconds % HIGH, Math.floor(microseconds / HIGH));
  }
}

function burstOf({ bytes }: Rate): number {
  return Math.max(bytes, BURST_BYTES_MIN);
}

/**
 * Reads the toolstack's `rate`: bytes, a comma, microseconds. Zero microseconds are no limit, as for Linux's netback.
 * @returns undefined for no limit, or why it cannot be read.
 */
export function parseRate(text: string | undefined): Rate | undefined | { readonly wrong: string } {
  if (text === undefined || text === '') return undefined;
  const [bytes, microseconds] = /^([0-9]{1,10}),([0-9]{1,10})$/.exec(text)?.slice(1).map(Number) ?? [];
  if (bytes === undefined || microseconds === undefined || bytes > 0xffffffff)
    return { wrong: `rate is ${quoted(text)}, not bytes and microseconds with a comma: nothing is limited` };
  if (microseconds === 0) return undefined;
  return { bytes, intervalMs: microseconds / 1000 };
}
