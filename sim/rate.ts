/** The toolstack's `rate`: so many bytes in each interval. */
export interface RatePlan {
  readonly bytes: number;
  readonly intervalMs: number;
}

/** What is left after a pause is no more than this, or than an interval brings (lib/netback/guest/credit.ts). */
const BURST_BYTES_MIN = 131_072;

/** Holds what the backend takes from one connection of a guest against the guest's rate, over all processes. */
export class RateMeter {
  readonly faults: string[] = [];
  readonly #plan: RatePlan;
  readonly #lengthOf: (sequence: number) => number;
  readonly #nowMs: () => number;
  readonly #beganMs: number;
  /** By queue: the frames that were taken. */
  readonly #taken: Set<number>[] = [];
  #bytes = 0;
  #lastMs = 0;
  /** Bytes before it, and the time. */
  #mark = { bytes: 0, ms: 0 };

  /** Made when the connection begins. */
  constructor(plan: RatePlan, lengthOf: (sequence: number) => number, nowMs: () => number) {
    this.#plan = plan;
    this.#lengthOf = lengthOf;
    this.#nowMs = nowMs;
    this.#beganMs = nowMs();
  }

  /** A frame was responded to, or reached the host: the earlier of the two counts. */
  note(queue: number, sequence: number): void {
    this.#taken[queue] ??= new Set();
    const taken = this.#taken[queue];
    if (taken.has(sequence)) return;
    taken.add(sequence);
    this.#bytes += this.#lengthOf(sequence);
    this.#lastMs = this.#nowMs();
    const { bytes, intervalMs } = this.#plan;
    const intervals = 1 + Math.floor((this.#lastMs - this.#beganMs) / intervalMs);
    if (this.#bytes > bytes * intervals && this.faults.length === 0) {
      const most = `${bytes * intervals} may be in ${intervals} intervals`;
      this.faults.push(`${this.#bytes} bytes were taken, ${most}`);
    }
  }

  /** From now on no process is killed: what waits comes as fast as the rate allows. */
  mark(): void {
    this.#mark = { bytes: this.#bytes, ms: this.#nowMs() };
  }

  /**
   * Holds what came since `mark` against the slowest that the rate allows, with nothing left at the mark: what a kill costs the guest is
   * that, at most. Call it when all has come.
   */
  judgeSpeed(longest: number): void {
    const { bytes, intervalMs } = this.#plan;
    // What is left of an interval beyond the most that can be left is lost; it is less than a frame.
    const useful = bytes + longest > BURST_BYTES_MIN ? bytes - longest : bytes;
    if (useful <= 0) return;
    // One more, since several queues take turns.
    const intervals = Math.ceil((this.#bytes - this.#mark.bytes) / useful) + 1;
    const passedMs = this.#lastMs - this.#mark.ms;
    if (passedMs <= intervals * intervalMs) return;
    this.faults.push(`${this.#bytes - this.#mark.bytes} bytes took ${passedMs} ms, ${intervals} intervals`);
  }
}
