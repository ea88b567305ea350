/**
 * How many lines of one kind may be logged at once for a vif. A guest that boots connects three times at most (firmware,
 * boot loader, system), so that the log has all lines of an ordinary boot.
 */
const BURST = 10;
/** After the burst, one line a second: the floods of 80 guests stay below journald's limit of 10,000 lines in 30 s for a service. */
const LINE_MS = 1000;
/** A flood is over when no line was left out for this time. */
const QUIET_MS = 1000;
/** How often lines that were left out are reported at least. */
const REPORT_MS = 10_000;
/** The number of buckets from which full ones are forgotten, since vifs come and go. */
const BUCKETS_MAX = 1024;

/** Lines of one subject that were not written. */
export interface LeftOut {
  /** `vif7.0`, or undefined for lines of the whole daemon. */
  readonly vif: string | undefined;
  readonly lines: number;
  /** From the first to the last of them. */
  readonly ms: number;
  readonly last: string;
}

interface Bucket {
  lines: number;
  atMs: number;
}

interface Flood {
  lines: number;
  firstMs: number;
  lastMs: number;
  last: string;
}

/**
 * Decides which lines the log writes. Each vif has a bucket for each kind of line, so that a flood of one kind (a guest toggles
 * its state, or writes malformed keys) displaces neither lines of another kind (its tap is down) nor those of another vif. Lines of the whole
 * daemon have their own buckets. Lines that are left out are counted; their number and the last one are reported when the flood ends or every 10 s.
 */
export class LogLimit implements Disposable {
  readonly #now: () => number;
  readonly #report: (leftOut: LeftOut) => void;
  readonly #buckets = new Map<string, Bucket>();
  readonly #floods = new Map<string | undefined, Flood>();
  #timer: NodeJS.Timeout | undefined;

  /** @param now monotonic ms. */
  constructor(now: () => number, report: (leftOut: LeftOut) => void) {
    this.#now = now;
    this.#report = report;
  }

  /** @returns whether the line may be written; otherwise it is counted. */
  admits(vif: string | undefined, kind: string, text: string): boolean {
    const now = this.#now();
    if (this.#take(`${vif} ${kind}`, now)) return true;
    const flood = this.#floods.get(vif) ?? { lines: 0, firstMs: now, lastMs: now, last: '' };
    flood.lines++;
    flood.lastMs = now;
    flood.last = text;
    this.#floods.set(vif, flood);
    this.#timer ??= setInterval(() => this.look(), QUIET_MS).unref();
    return false;
  }

  /** Reports floods that are over or have lasted for 10 s. A timer calls it once a second during floods. */
  look(): void {
    const now = this.#now();
    for (const [vif, flood] of [...this.#floods]) {
      if (now - flood.lastMs >= QUIET_MS || now - flood.firstMs >= REPORT_MS) this.#summarize(vif, flood);
    }
    if (this.#floods.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Reports all lines that were left out. */
  [Symbol.dispose](): void {
    for (const [vif, flood] of [...this.#floods]) this.#summarize(vif, flood);
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #summarize(vif: string | undefined, { lines, firstMs, lastMs, last }: Flood): void {
    this.#floods.delete(vif);
    this.#report({ vif, lines, ms: lastMs - firstMs, last });
  }

  #take(key: string, now: number): boolean {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_MAX) this.#forgetFull(now);
      this.#buckets.set(key, { lines: BURST - 1, atMs: now });
      return true;
    }
    bucket.lines = filled(bucket, now);
    bucket.atMs = now;
    if (bucket.lines < 1) return false;
    bucket.lines--;
    return true;
  }

  #forgetFull(now: number): void {
    for (const [key, bucket] of [...this.#buckets])
      if (filled(bucket, now) >= BURST) this.#buckets.delete(key);
  }
}

function filled({ lines, atMs }: Bucket, now: number): number {
  return Math.min(BURST, lines + (now - atMs) / LINE_MS);
}
