/**
 * How many lines of one kind a vif may have written at once. A guest that boots connects three times at most (firmware,
 * boot loader, system), so that the lines of an ordinary boot are all there.
 */
const BURST = 10;
/** Afterwards one line a second: 80 guests that do their worst stay below journald's 10,000 lines in 30 s for a service. */
const LINE_MS = 1000;
/** A flood is over when nothing was left out for so long. */
const QUIET_MS = 1000;
/** Lines that were left out are reported at least this often. */
const REPORT_MS = 10_000;
/** Buckets that are full again are forgotten once there are so many: vifs come and go. */
const BUCKETS_MAX = 1024;

/** Lines of one subject that were not written. */
export interface LeftOut {
  /** `vif7.0`, or undefined for the whole daemon's. */
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
 * Which lines the log writes. Each vif has a bucket for each kind of line, so that a flood of one kind (a guest that toggles
 * its state, or writes nonsense) takes no room from another (its tap is down), nor from another vif; lines of the whole
 * daemon have their own. What is left out is counted, and reported with the last of it when the flood ends or every 10 s.
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

  /** Reports floods that are over or have gone on for 10 s. By itself once a second while there are any. */
  look(): void {
    const now = this.#now();
    for (const [vif, flood] of [...this.#floods]) {
      if (now - flood.lastMs >= QUIET_MS || now - flood.firstMs >= REPORT_MS) this.#tell(vif, flood);
    }
    if (this.#floods.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Reports all that was left out. */
  [Symbol.dispose](): void {
    for (const [vif, flood] of [...this.#floods]) this.#tell(vif, flood);
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tell(vif: string | undefined, { lines, firstMs, lastMs, last }: Flood): void {
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
