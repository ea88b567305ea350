import type { Clock } from '../../xen/seam.js';
import { type LoopShare, LoopShares } from '../ring/loop-shares.js';
import { Allowance } from './allowance.js';

/** How many looks (reads of a vif's nodes) may follow at once, besides the first ones of each vif (`Looks`). */
const LOOKS_AT_ONCE = 128;
/**
 * The time for one more look. A look at a guest with 8 queues takes 1 to 2 ms, so a guest that writes without end uses 1 % of the event loop:
 * fewer than one ping in a hundred of another guest waits for it.
 */
const LOOK_EVERY_MS = 200;
/**
 * How many connections may follow at once, besides the first one of each vif (`ConnectionPacing`). Each blocks the event loop, and so other guests, for some milliseconds. Firmware, loader and
 * kernel of a guest connect one after the other, the kernel with all of the guest's vifs.
 */
const CONNECTIONS_AT_ONCE = 16;
export const CONNECTION_EVERY_MS = 2000;
/**
 * All grants that the queues of a vif may have mapped (16 * 1024); then 4,000 a second follow, since mapping a list of 512 takes 1 to 2 ms.
 */
const STAGED_AT_ONCE = 16_384;
const STAGED_EVERY_MS = 0.25;

/** Limits for what one guest may cost, with all its vifs and queues; work beyond them waits (docs/design.md, "What a guest may cost"). */
export interface GuestBudget {
  /** Time in the event loop, for frames and control requests. */
  readonly loop: LoopShare;
  /** Reads of its vifs' nodes in the store. */
  readonly looks: Allowance;
  readonly connections: Allowance;
  /** Grants that it adds to, or deletes from, those that stay mapped. */
  readonly staged: Allowance;
}

/** The budgets of all guests that have a vif. */
export class GuestBudgets {
  readonly #clock: Clock;
  readonly #shares: LoopShares;
  readonly #budgets = new Map<number, GuestBudget>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#shares = new LoopShares(clock);
  }

  of(domid: number): GuestBudget {
    const known = this.#budgets.get(domid);
    if (known !== undefined) return known;
    const budget = {
      loop: this.#shares.share(),
      looks: new Allowance(this.#clock, LOOKS_AT_ONCE, LOOK_EVERY_MS),
      connections: new Allowance(this.#clock, CONNECTIONS_AT_ONCE, CONNECTION_EVERY_MS),
      staged: new Allowance(this.#clock, STAGED_AT_ONCE, STAGED_EVERY_MS),
    };
    this.#budgets.set(domid, budget);
    return budget;
  }

  /** Forgets a guest that has no vif any more. */
  forget(domid: number): void {
    this.#budgets.delete(domid);
  }
}
