import type { Credit } from './credit.js';

/** Not at once: a queue that asks again and again would keep those from their turn that it waits for. */
const TURN_MS = 1;

/**
 * Whose turn it is, of the queues of a vif that share its credit. Those that were refused take turns, batch by batch: else
 * the one whose timer is the first of each interval would have all of it.
 */
export class CreditTurns {
  readonly #credit: Credit;
  /** By bits: queues that were refused, and look again by themselves. */
  #refused = 0;
  /** By bits: of those, the ones that wait for the next interval. */
  #looked = 0;
  /** The queue that has sent last. */
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

  /** The queue looks: it waits no more. */
  look(queue: number): void {
    this.#refused &= ~(1 << queue);
  }

  /** Bytes that the queue may send at this moment. */
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

  /** The queue has more than it may send. @returns milliseconds until it should look again. */
  refuse(queue: number, nowMs: number): number {
    this.#refused |= 1 << queue;
    const next = this.#next(queue);
    const waitMs = this.#credit.waitMs(nowMs);
    // Whose turn it is looks at this very moment, if it does not wait for the next interval.
    const soon = next !== queue && (this.#looked & (1 << next)) === 0 && this.#credit.available(nowMs) > 0;
    if (soon) return Math.min(waitMs, TURN_MS);
    this.#looked |= 1 << queue;
    return waitMs;
  }

  /** Of those that were refused and `queue`: the first one after the last that has sent. */
  #next(queue: number): number {
    const candidates = this.#refused | (1 << queue);
    for (let step = 1; step <= 32; step++) {
      const one = (this.#last + step) & 31;
      if ((candidates & (1 << one)) !== 0) return one;
    }
    return queue;
  }
}

/** One queue's part in it. */
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
