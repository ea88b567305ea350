import type { Clock } from '../../xen/seam.js';
import { type LoopShare, LoopShares } from '../ring/loop-shares.js';
import { Allowance } from './allowance.js';

/** A guest that starts leads to some ten looks for each vif, and what its toolstack writes to a few more. */
const LOOKS_AT_ONCE = 128;
/**
 * A look at a guest with 8 queues takes 1 to 2 ms, so one that writes without end takes 1 % of the loop: fewer than one ping in a hundred of
 * a neighbour's waits for it.
 */
const LOOK_EVERY_MS = 200;
/**
 * A connection stops the loop for some milliseconds, for which the guest's neighbours wait. Firmware, loader and kernel come one
 * after the other, the last with all of the guest's vifs.
 */
const CONNECTIONS_AT_ONCE = 16;
export const CONNECTION_EVERY_MS = 2000;
/** All grants that the queues of a vif can have mapped (16 of 1024), and then 4,000 a second: mapping a list of 512 takes 1 to 2 ms. */
const STAGED_AT_ONCE = 16_384;
const STAGED_EVERY_MS = 0.25;

/** What one guest may cost, with all its vifs and queues; more of it waits (docs/design.md, "What a guest may cost"). */
export interface GuestBudget {
  /** Time in the event loop, for frames and control requests. */
  readonly loop: LoopShare;
  /** Looks at its vifs' nodes in the store. */
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

  /** Called when the guest has no vif any more. */
  forget(domid: number): void {
    this.#budgets.delete(domid);
  }
}
