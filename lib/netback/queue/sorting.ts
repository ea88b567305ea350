import type { Clock } from '../../xen/seam.js';
import type { FlowCounters } from '../frames/counters.js';
import { ANY_QUEUE, type HashState } from '../guest/hash.js';
import type { PendingFrames } from './pending-frames.js';
import type { OtherQueues } from './to-guest-steps.js';

/**
 * How long a batch waits for room in another queue whose guest takes frames. A guest's CPU is away for milliseconds, and without this each
 * burst beyond a batch would lose frames; a longer wait would hold up the batch's other queues.
 */
const ROOM_MS = 10;

/** What the guest's other queues see of one of them. */
export interface SortedQueue {
  readonly pending: PendingFrames;
  readonly counters: FlowCounters;
  /** The guest has buffers for the next frame, pending or not. */
  readonly hasRoom: boolean;
  /** For how long the next pending frame has found no buffers. */
  readonly waitedMs: number;
  /** The queue does not read its port for want of buffers, and frames of the others may wait there. */
  readonly blocksOthers: boolean;
  /** Gives the queue a turn soon, and not at once. */
  rouse(): void;
}

/** The queues of a guest that may choose the queue of each frame. */
export class SortingGroup {
  readonly #hash: HashState;
  readonly #clock: Clock;
  readonly #members: Sorting[] = [];

  constructor(hash: HashState, clock: Clock) {
    this.#hash = hash;
    this.#clock = clock;
  }

  /** Queues join in the order of their numbers. */
  join(queue: SortedQueue): Sorting {
    const sorting = new Sorting(queue, this.#members, this.#hash, this.#clock);
    this.#members.push(sorting);
    return sorting;
  }
}

/**
 * Moves each frame that one queue has read to the queue that the guest's hash mapping names, whichever queue the port chose. There it is
 * pending behind all others, in that queue's journal. A queue whose guest takes no frames loses those that it has no room for, and holds up
 * no other.
 */
export class Sorting implements OtherQueues {
  readonly #queue: SortedQueue;
  /** Of all the guest's queues, by number; this one among them. */
  readonly #members: readonly Sorting[];
  readonly #hash: HashState;
  readonly #clock: Clock;
  /** The queue for whose room the rest of the batch waits, and the time since when it waits for any (monotonic ms). */
  #waitsFor: Sorting | undefined;
  #sinceMs: number | undefined;

  constructor(queue: SortedQueue, members: readonly Sorting[], hash: HashState, clock: Clock) {
    this.#queue = queue;
    this.#members = members;
    this.#hash = hash;
    this.#clock = clock;
  }

  /** The guest chooses. Until it does, frames are delivered by the queue that the port chose. */
  get active(): boolean {
    return this.#hash.active;
  }

  /** If this queue read first, it might wait for the other one in turn. */
  get waitForRoom(): boolean {
    for (let i = 0; i < this.#members.length; i++) if (this.#members[i].#waitsFor === this) return true;
    return false;
  }

  get needFrames(): boolean {
    if (!this.active) return false;
    for (let i = 0; i < this.#members.length; i++) {
      const queue = this.#members[i].#queue;
      if (queue !== this.#queue && queue.pending.empty && queue.hasRoom) return true;
    }
    return false;
  }

  /** Gives a turn to the queues that wait for this one's room. */
  rouseWaiting(): void {
    for (let i = 0; i < this.#members.length; i++) {
      const other = this.#members[i];
      if (other.#waitsFor === this) other.#queue.rouse();
    }
  }

  /**
   * No frame is pending in this queue. Gives a turn to the queues that wait for its room, and to those without buffers: what this queue
   * needs next may be behind them.
   */
  rouseOthers(): void {
    for (let i = 0; i < this.#members.length; i++) {
      const other = this.#members[i];
      if (other === this) continue;
      if (other.#waitsFor === this || (this.active && other.#queue.blocksOthers)) other.#queue.rouse();
    }
  }

  /**
   * Moves the frames of the batch that was read to their queues. Each is complete there before it is removed here: a process that is
   * killed in between repeats one frame and loses none.
   * @param patient wait for room in a queue that takes frames, instead of dropping the frame.
   * @returns milliseconds until another queue has room or the rest is dropped; 0: all frames that are left are this queue's.
   */
  sort(patient: boolean): number {
    const { pending } = this.#queue;
    this.#waitsFor = undefined;
    const end = pending.unsorted;
    let roused = 0;
    let waitMs = 0;
    for (let i = pending.next; i < end && waitMs === 0; i++) {
      const chosen = pending.isRemoved(i) ? ANY_QUEUE : this.#hash.queueOf(pending.hashValues[i]);
      const other = chosen === ANY_QUEUE ? this : this.#members[chosen];
      if (other === this || other === undefined) continue;
      if (other.#queue.pending.append(pending, i)) roused |= 1 << chosen;
      else {
        if (patient) waitMs = this.#waitMs(other);
        if (waitMs > 0) continue;
        other.#queue.counters.drop('queue');
      }
      pending.remove(i);
    }
    if (waitMs === 0) this.#end();
    for (let i = 0; roused !== 0; i++, roused >>>= 1) if ((roused & 1) !== 0) this.#members[i].#queue.rouse();
    return waitMs;
  }

  #end(): void {
    this.#sinceMs = undefined;
    this.#queue.pending.endSorting();
  }

  /** @returns how long to wait for another queue's room; 0: the wait is over, or that queue's guest takes no frames. */
  #waitMs(other: Sorting): number {
    if (!other.#queue.hasRoom && other.#queue.waitedMs >= ROOM_MS) return 0;
    const now = this.#clock.now();
    this.#sinceMs ??= now;
    const leftMs = this.#sinceMs + ROOM_MS - now;
    if (leftMs <= 0) return 0;
    this.#waitsFor = other;
    return leftMs;
  }
}
