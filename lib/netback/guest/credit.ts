import type { DurableWords, ReadonlyWords } from '../../durable/durable-words.js';
import { CREDIT } from '../../durable/layout.js';
import { quoted } from '../../text.js';

/** How many bytes a guest may send in each interval. */
export interface Rate {
  readonly bytes: number;
  readonly intervalMs: number;
}

/** The least burst that a guest may send after a pause, if an interval allows less (netback.c, tx_add_credit). Larger than any frame. */
const BURST_BYTES_MIN = 131_072;

const { left: LEFT, end: END } = CREDIT.at;
const HIGH = 2 ** 32;

/**
 * The bytes that a guest may still send. They are in the journal's memory, so that a restart gives no new credit. Intervals follow each
 * other without a gap, so that over many of them the rate is exact. (An interval of the kernel's driver starts when the driver checks it.)
 */
export class Credit {
  readonly #words: DurableWords;
  readonly #view: ReadonlyWords;
  #rate: Rate | undefined;

  /** @param words the words of a CREDIT. Their content counts as far as the rate allows. */
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

  /** Changes the rate. The remaining bytes of the present interval stay valid. */
  limit(rate: Rate | undefined, nowMs: number): void {
    this.#rate = rate;
    if (rate === undefined) {
      this.#words.clear();
      return;
    }
    const end = this.#end;
    // The words are new, or from another rate or clock.
    if (end === 0 || end > nowMs + rate.intervalMs) this.#begin(rate, nowMs);
    if (this.#view[LEFT] > burstOf(rate)) this.#words.store(LEFT, burstOf(rate));
  }

  /** Returns how many bytes the guest may send now. */
  available(nowMs: number): number {
    const rate = this.#rate;
    if (rate === undefined) return Number.POSITIVE_INFINITY;
    const late = nowMs - this.#end;
    if (late >= 0) {
      const passed = Math.floor(late / rate.intervalMs) + 1;
      // The end is stored first: a kill in between costs the guest the bytes of these intervals, and gives it none twice.
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

  /** Returns the milliseconds until the next interval. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#end - nowMs);
  }

  #begin(rate: Rate, nowMs: number): void {
    // The bytes are not valid until the end is stored.
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
