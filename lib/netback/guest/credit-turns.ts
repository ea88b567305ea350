import type { Credit } from './credit.js';

/** How soon a refused queue tries again. With no pause, it would prevent the turns of the queues that it waits for. */
const TURN_MS = 1;

/**
 * Determines which of the queues that share a vif's credit may send. Queues that were refused take turns, batch by batch; otherwise the
 * queue whose timer fires first in each interval would use all of the credit.
 */
export class CreditTurns {
  readonly #credit: Credit;
  /** A bit for each queue that was refused; it tries again by itself. */
  #refused = 0;
  /** A bit for each of those that waits for the next interval. */
  #looked = 0;
  /** The queue that sent last. */
  #last = 0;
  #endMs = 0;

  constructor(credit: Credit) {
    this.#credit = credit;
  }

  of(queue: number): CreditTurn {
    return new CreditTurn(this, queue);
  }

  get limited(): boolean {
    return this.#credit.limited;
  }

  /** Records that the queue tries again, and no longer waits. */
  look(queue: number): void {
    this.#refused &= ~(1 << queue);
  }

  /** Returns how many bytes the queue may send now. */
  available(queue: number, nowMs: number): number {
    const left = this.#credit.available(nowMs);
    if (this.#credit.endMs !== this.#endMs) {
      this.#endMs = this.#credit.endMs;
      this.#looked = 0;
    }
    return this.#next(queue) === queue ? left : 0;
  }

  spend(queue: number, bytes: number): void {
    if (bytes > 0) this.#last = queue;
    this.#credit.spend(bytes);
  }

  /** Records that the queue has more than it may send. @returns milliseconds until the queue should try again. */
  refuse(queue: number, nowMs: number): number {
    this.#refused |= 1 << queue;
    const next = this.#next(queue);
    const waitMs = this.#credit.waitMs(nowMs);
    // The queue whose turn it is tries again right now, unless it waits for the next interval.
    const soon = next !== queue && (this.#looked & (1 << next)) === 0 && this.#credit.available(nowMs) > 0;
    if (soon) return Math.min(waitMs, TURN_MS);
    this.#looked |= 1 << queue;
    return waitMs;
  }

  /** Returns the next queue, after the one that sent last, among `queue` and the refused ones. */
  #next(queue: number): number {
    const candidates = this.#refused | (1 << queue);
    for (let step = 1; step <= 32; step++) {
      const one = (this.#last + step) & 31;
      if ((candidates & (1 << one)) !== 0) return one;
    }
    return queue;
  }
}

/** One queue's view of the `CreditTurns` of its vif. */
export class CreditTurn {
  readonly #turns: CreditTurns;
  readonly #queue: number;

  constructor(turns: CreditTurns, queue: number) {
    this.#turns = turns;
    this.#queue = queue;
  }

  get limited(): boolean {
    return this.#turns.limited;
  }

  look(): void {
    this.#turns.look(this.#queue);
  }

  available(nowMs: number): number {
    return this.#turns.available(this.#queue, nowMs);
  }

  spend(bytes: number): void {
    this.#turns.spend(this.#queue, bytes);
  }

  refuse(nowMs: number): number {
    return this.#turns.refuse(this.#queue, nowMs);
  }
}
