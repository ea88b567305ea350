import type { Clock } from '../../xen/seam.js';
import type { FlowCounters } from '../frames/counters.js';
import { ANY_QUEUE, type HashState } from '../guest/hash.js';
import type { PendingFrames } from './pending-frames.js';
import type { OtherQueues } from './to-guest-steps.js';

/**
 * How long a batch waits for room in another queue whose guest takes frames. Xen may not run a guest's CPU for milliseconds, and without this
 * wait each burst beyond a batch would lose frames. A longer wait would delay the frames of the batch that go to other queues.
 */
const ROOM_MS = 10;

/** The part of a queue that the guest's other queues use. */
export interface SortedQueue {
  readonly pending: PendingFrames;
  readonly counters: FlowCounters;
  /** Whether the guest has buffers for the next frame, pending or not. */
  readonly hasRoom: boolean;
  /** For how long the next pending frame has found no buffers. */
  readonly waitedMs: number;
  /** Whether the queue has no buffers and therefore does not read its port, where frames of the other queues may wait. */
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
 * Moves each frame that one queue has read to the queue that the guest's hash mapping names, whichever queue the port chose. There the frame
 * is pending behind all others, in that queue's journal. If the guest takes no frames by a queue, frames without room there are dropped, so
 * that the queue delays no other.
 */
export class Sorting implements OtherQueues {
  readonly #queue: SortedQueue;
  /** The `Sorting` of each of the guest's queues, by number; this one is among them. */
  readonly #members: readonly Sorting[];
  readonly #hash: HashState;
  readonly #clock: Clock;
  /** The queue in which the rest of the batch waits for room, and when the batch began to wait for any queue (monotonic ms). */
  #waitsFor: Sorting | undefined;
  #sinceMs: number | undefined;

  constructor(queue: SortedQueue, members: readonly Sorting[], hash: HashState, clock: Clock) {
    this.#queue = queue;
    this.#members = members;
    this.#hash = hash;
    this.#clock = clock;
  }

  /** Whether the guest chooses the queues. Until it does, each frame stays in the queue that the port chose. */
  get active(): boolean {
    return this.#hash.active;
  }

  /** Whether another queue waits for room in this one. If this queue read its port first, the two might wait for each other. */
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
   * Called when no frame is pending in this queue. Gives a turn to the queues that wait for room here, and to those without buffers: the port
   * of such a queue may have frames for this one.
   */
  rouseOthers(): void {
    for (let i = 0; i < this.#members.length; i++) {
      const other = this.#members[i];
      if (other === this) continue;
      if (other.#waitsFor === this || (this.active && other.#queue.blocksOthers)) other.#queue.rouse();
    }
  }

  /**
   * Moves the frames of the batch that was read to their queues. Each frame is complete there before it is removed here, so a kill in between
   * repeats one frame and loses none.
   * @param patient wait for room in a queue that takes frames, instead of dropping the frame.
   * @returns milliseconds to wait until another queue may have room or the rest is dropped; 0: all remaining frames belong to this queue.
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

  /** @returns milliseconds to wait for room in another queue; 0: the time is up, or the guest takes no frames by that queue. */
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
