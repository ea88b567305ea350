/** The toolstack's `rate`: a number of bytes in each interval. */
export interface RatePlan {
  readonly bytes: number;
  readonly intervalMs: number;
}

/** The most bytes that remain after a pause, unless an interval brings more (lib/netback/guest/credit.ts). */
const BURST_BYTES_MIN = 131_072;

/** Checks what the backend takes from one connection of a guest against the guest's rate, over all processes. */
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
  /** The bytes before the mark, and its time. */
  #mark = { bytes: 0, ms: 0 };

  /** Made when the connection begins. */
  constructor(plan: RatePlan, lengthOf: (sequence: number) => number, nowMs: () => number) {
    this.#plan = plan;
    this.#lengthOf = lengthOf;
    this.#nowMs = nowMs;
    this.#beganMs = nowMs();
  }

  /** Counts a frame when the guest has its response, or when it reaches the host, whichever is earlier. */
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

  /** Call it when no process is killed any more: waiting frames then come as fast as the rate allows. */
  mark(): void {
    this.#mark = { bytes: this.#bytes, ms: this.#nowMs() };
  }

  /**
   * Checks the frames since `mark` against the slowest that the rate allows, with no bytes left at the mark: a kill costs the guest at most
   * that. Call it when all frames have come.
   */
  judgeSpeed(longest: number): void {
    const { bytes, intervalMs } = this.#plan;
    // The rest of an interval beyond the maximum is lost; it is less than a frame.
    const useful = bytes + longest > BURST_BYTES_MIN ? bytes - longest : bytes;
    if (useful <= 0) return;
    // One frame more, since several queues take turns.
    const intervals = Math.ceil((this.#bytes - this.#mark.bytes) / useful) + 1;
    const passedMs = this.#lastMs - this.#mark.ms;
    if (passedMs <= intervals * intervalMs) return;
    this.faults.push(`${this.#bytes - this.#mark.bytes} bytes took ${passedMs} ms, ${intervals} intervals`);
  }
}
