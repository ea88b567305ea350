import type { Clock } from '../xen/types.js';

/**
 * What one guest may have of the event loop before others have their turn. Long beside what a turn of the loop costs by itself
 * (10 to 20 µs), and no longer than a ring of short frames takes (256 in 0.25 ms): a guest with one queue could not use the rest.
 */
const SLICE_MS = 0.25;
/** Who has used less than this since the last round needs no round to be even: light work costs no turn of the loop. */
const LIGHT_MS = SLICE_MS / 4;
/**
 * More is not made up for. A turn ends with the batch in which its slice does; one that took longer was stopped or frozen with the whole
 * process, which is no doing of the guest's: it would wait for as long again.
 */
const DEBT_MS_MAX = 100;
/** Where a clock does not move, as a model's. */
const ROUND_JOBS_MAX = 64;

/**
 * Shares the event loop out between guests: each has a slice of each round, however many queues it has, and whoever used more
 * waits in later rounds until that is even (deficit round robin). A round is a turn of the loop, so that events of others,
 * timers and the store are heard in between. A guest that is alone goes on at once.
 */
export class LoopShares {
  readonly #clock: Clock;
  /** Those with jobs that wait, or time to make up for. */
  readonly #active = new Set<LoopShare>();
  readonly #round = (): void => this.#runRound();
  #next: Disposable | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A guest's. */
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

/** One guest's part in it, for all that it makes us do. */
export class LoopShare {
  readonly #clock: Clock;
  readonly #activate: (share: LoopShare) => void;
  /** In the order of their asking. */
  readonly #waiting = new Set<() => void>();
  /** Used, and not made up for yet. */
  #usedMs = 0;
  #beganMs = 0;

  constructor(clock: Clock, activate: (share: LoopShare) => void) {
    this.#clock = clock;
    this.#activate = activate;
  }

  /** What comes now may be done now. */
  get free(): boolean {
    return this.#usedMs < SLICE_MS && this.#waiting.size === 0;
  }

  /** What runs has used a whole slice: the rest is for another round. */
  get over(): boolean {
    return this.#clock.now() - this.#beganMs >= SLICE_MS;
  }

  /** Has `job` run in a later round, once; a job that waits already keeps its place. */
  queue(job: () => void): void {
    this.#waiting.add(job);
    this.#activate(this);
  }

  /** `job` waits no more. */
  cancel(job: () => void): void {
    this.#waiting.delete(job);
  }

  /** Runs `job` now, and counts what time it takes. */
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

  /** A new slice: jobs have their turns until it is used up, whoever has few of them several. */
  round(): void {
    this.#usedMs = Math.max(0, this.#usedMs - SLICE_MS);
    let left = ROUND_JOBS_MAX;
    try {
      for (const job of this.#waiting) {
        if (left === 0 || this.#usedMs >= SLICE_MS) break;
        left--;
        // One that has more to do comes behind the others.
        this.#waiting.delete(job);
        job();
      }
    } finally {
      if (this.#waiting.size > 0 || this.#usedMs > 0) this.#activate(this);
    }
  }
}
