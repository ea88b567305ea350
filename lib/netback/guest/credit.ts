import { quoted } from '../../text.js';

/** How much a guest may send: so many bytes in each interval. */
export interface Rate {
  readonly bytes: number;
  readonly intervalMs: number;
}

/** What may come at once after a pause, if an interval brings less (netback.c, tx_add_credit). More than any frame. */
const BURST_BYTES_MIN = 131_072;

// Layout in words: bytes left, then the end of the interval in microseconds of the machine's monotonic clock, as 64 bits.
const LEFT = 0;
const END_LOW = 1;
const END_HIGH = 2;
export const CREDIT_WORDS = 3;
const HIGH = 2 ** 32;

/**
 * What is left of a guest's rate. It lies in the journal's memory: a restart gives no fresh credit. Intervals follow each
 * other without a gap, so that over many of them the rate is exact; the kernel's begin when somebody looks.
 */
export class Credit {
  readonly #words: Uint32Array;
  #rate: Rate | undefined;

  /** @param words CREDIT_WORDS of them. What stands there is believed as far as the rate allows. */
  constructor(words: Uint32Array) {
    this.#words = words;
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
      this.#words.fill(0);
      return;
    }
    const end = this.#end;
    // New, or of another rate or clock.
    if (end === 0 || end > nowMs + rate.intervalMs) this.#begin(rate, nowMs);
    this.#words[LEFT] = Math.min(this.#words[LEFT], burstOf(rate));
  }

  /** Bytes that may be sent at this moment. */
  available(nowMs: number): number {
    const rate = this.#rate;
    if (rate === undefined) return Number.POSITIVE_INFINITY;
    const late = nowMs - this.#end;
    if (late >= 0) {
      const passed = Math.floor(late / rate.intervalMs) + 1;
      this.#words[LEFT] = Math.min(this.#words[LEFT] + passed * rate.bytes, burstOf(rate));
      this.#setEnd(this.#end + passed * rate.intervalMs);
    }
    return this.#words[LEFT];
  }

  spend(bytes: number): void {
    this.#words[LEFT] = Math.max(0, this.#words[LEFT] - bytes);
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
    this.#words[LEFT] = rate.bytes;
    this.#setEnd(nowMs + rate.intervalMs);
  }

  get #end(): number {
    return (this.#words[END_HIGH] * HIGH + this.#words[END_LOW]) / 1000;
  }

  #setEnd(endMs: number): void {
    const microseconds = Math.round(endMs * 1000);
    this.#words[END_LOW] = microseconds % HIGH;
    this.#words[END_HIGH] = Math.floor(microseconds / HIGH);
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
