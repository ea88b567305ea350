import type { Clock } from '../../xen/seam.js';

/**
 * How long one guest may use the event loop in a round. It is long beside the cost of a turn of the loop (10 to 20 µs), and no
 * longer than a ring of short frames takes (256 in 0.25 ms), since a guest with one queue could not use more.
 */
const SLICE_MS = 0.25;
/** A guest that has used less than this since the last round needs no further round: light work costs no turn of the loop. */
const LIGHT_MS = SLICE_MS / 4;
/**
 * The most used time that a guest must make up for. A turn ends with the batch in which its slice ends. If a turn took longer than this, the
 * whole process was stopped or frozen; that is not the guest's fault, and without the limit the guest would wait for as long again.
 */
const DEBT_MS_MAX = 100;
/** Ends a round if the clock does not advance, as a model's clock. */
const ROUND_JOBS_MAX = 64;

/**
 * Shares the event loop between guests. Each guest has one slice of each round, however many queues it has; a guest that used more
 * waits in later rounds until the shares are even (deficit round robin). A round is a turn of the loop, so that the loop handles other
 * guests' events, timers and the store's responses in between. A guest that is alone uses every round.
 */
export class LoopShares {
  readonly #clock: Clock;
  /** Shares with jobs that wait, or with used time that they must make up for. */
  readonly #active = new Set<LoopShare>();
  readonly #round = (): void => this.#runRound();
  #next: Disposable | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns a share for one more guest. */
  share(): LoopShare {
    return new LoopShare(this.#clock, (share) => this.#activate(share));
  }

  #activate(share: LoopShare): void {
    this.#active.add(share);
    this.#next ??= this.#clock.after(0, this.#round);
  }

  #runRound(): void {
    this.#next = undefined;
    try {
      for (const share of [...this.#active]) {
        this.#active.delete(share);
        share.round();
      }
    } finally {
      if (this.#active.size > 0) this.#next ??= this.#clock.after(0, this.#round);
    }
  }
}

/** One guest's share of the loop, for the jobs of all its queues and control rings. */
export class LoopShare {
  readonly #clock: Clock;
  readonly #activate: (share: LoopShare) => void;
  /** Jobs, in the order in which they were queued. */
  readonly #waiting = new Set<() => void>();
  /** The used time that this share must still make up for. */
  #usedMs = 0;
  #beganMs = 0;

  constructor(clock: Clock, activate: (share: LoopShare) => void) {
    this.#clock = clock;
    this.#activate = activate;
  }

  /** Whether a job may run at once, without `queue`. */
  get free(): boolean {
    return this.#usedMs < SLICE_MS && this.#waiting.size === 0;
  }

  /** Whether the running job has used a whole slice; it then leaves the rest of its work to another round. */
  get over(): boolean {
    return this.#clock.now() - this.#beganMs >= SLICE_MS;
  }

  /** Runs `job` in a later round, once; a job that waits already keeps its place. */
  queue(job: () => void): void {
    this.#waiting.add(job);
    this.#activate(this);
  }

  /** Takes a queued `job` back. */
  cancel(job: () => void): void {
    this.#waiting.delete(job);
  }

  /** Runs `job` now, and counts the time that it takes. */
  run<T>(job: () => T): T {
    const outerMs = this.#beganMs;
    const beganMs = this.#clock.now();
    this.#beganMs = beganMs;
    try {
      return job();
    } finally {
      this.#beganMs = outerMs;
      this.#usedMs = Math.min(this.#usedMs + this.#clock.now() - beganMs, DEBT_MS_MAX);
      if (this.#usedMs >= LIGHT_MS) this.#activate(this);
    }
  }

  /** Begins a new slice: runs queued jobs until it is used up; a guest with few jobs may run each several times. */
  round(): void {
    this.#usedMs = Math.max(0, this.#usedMs - SLICE_MS);
    let left = ROUND_JOBS_MAX;
    try {
      for (const job of this.#waiting) {
        if (left === 0 || this.#usedMs >= SLICE_MS) break;
        left--;
        // Deleted before it runs, so that a job that queues itself again goes behind the others.
        this.#waiting.delete(job);
        job();
      }
    } finally {
      if (this.#waiting.size > 0 || this.#usedMs > 0) this.#activate(this);
    }
  }
}
