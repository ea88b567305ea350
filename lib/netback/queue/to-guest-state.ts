import type { FlowCounters } from '../frames/counters.js';
import type { BackRing } from '../ring/back-ring.js';
import type { Delivery } from './delivery.js';
import type { PendingFrames } from './pending-frames.js';
import type { SortedQueue } from './sorting.js';
import type { StallTimer } from './stall-timer.js';
import type { Situation } from './to-guest-steps.js';

/** The state of a queue's to-guest direction, for its next step and for the guest's other queues. */
export class ToGuestState implements Situation, SortedQueue {
  readonly pending: PendingFrames;
  readonly counters: FlowCounters;
  readonly #ring: BackRing;
  readonly #delivery: Delivery;
  readonly #timer: StallTimer;
  slots = 0;
  slotsWanted = 0;
  isOffered = false;
  isDry = false;
  isArmed = false;
  leftMs: number | undefined;
  /** Gives the queue a turn soon, and not at once. */
  rouse: () => void = () => {};

  constructor(parts: {
    pending: PendingFrames;
    counters: FlowCounters;
    ring: BackRing;
    delivery: Delivery;
    timer: StallTimer;
  }) {
    this.pending = parts.pending;
    this.counters = parts.counters;
    this.#ring = parts.ring;
    this.#delivery = parts.delivery;
    this.#timer = parts.timer;
  }

  /** Reads the ring's indices. */
  look(): void {
    this.slots = this.#ring.waiting();
    this.isDry = false;
    this.isArmed = false;
    this.leftMs = undefined;
  }

  /** Whether the guest has buffers beyond those that this turn has used for all frames that were read. */
  get hasLeft(): boolean {
    return this.slots > 0 && this.pending.empty;
  }

  get pendingFrames(): number {
    return this.pending.size;
  }

  get unsortedFrames(): number {
    return this.pending.unsorted;
  }

  get slotsNeeded(): number {
    return this.#delivery.slotsOfNext();
  }

  get stalled(): boolean {
    return this.#timer.stalled;
  }

  get lapsed(): boolean {
    return this.#timer.lapsed;
  }

  get hasRoom(): boolean {
    const slots = this.#ring.waiting();
    return slots > 0 && (this.pending.empty || slots >= this.slotsNeeded);
  }

  get waitedMs(): number {
    return this.#timer.waitedMs;
  }

  get blocksOthers(): boolean {
    return this.pending.empty ? this.isOffered : this.lapsed;
  }
}
