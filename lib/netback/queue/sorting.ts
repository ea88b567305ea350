import type { Clock } from '../../xen/seam.js';
import type { FlowCounters } from '../frames/counters.js';
import { ANY_QUEUE, type HashState } from '../guest/hash.js';
import type { PendingFrames } from './pending-frames.js';

/**
 * A batch waits so long for room in another queue, where the guest takes frames. A guest's CPU is away for milliseconds,
 * and without this each burst beyond a batch would lose frames; what waits longer holds up the batch's other queues.
 */
const ROOM_MS = 10;

/** One of a guest's queues, as the others see it. */
export interface Steered {
  readonly pending: PendingFrames;
  readonly counters: FlowCounters;
  /** The guest has buffers for what comes next here. */
  readonly able: boolean;
  /** For how long what waits here has found no buffers. */
  readonly waitedMs: number;
  /** It reads nothing for want of buffers, and frames of the others may wait in its queue of the port. */
  readonly blocks: boolean;
  /** Has its turn soon, and not at once. */
  rouse(): void;
}

/**
 * Puts each frame that was read into the queue that the guest's hash mapping names, whatever the port's own choice. What is
 * another queue's is pending there behind what that holds already, in its journal. A queue whose guest takes nothing loses
 * what it has no room for, and holds up no other.
 */
export class Steering {
  readonly #hash: HashState;
  readonly #clock: Clock;
  readonly #seats: Seat[] = [];

  constructor(hash: HashState, clock: Clock) {
    this.#hash = hash;
    this.#clock = clock;
  }

  /** In the order of the queues' numbers. */
  join(queue: Steered): Seat {
    const seat = new Seat(queue, this.#seats, this.#hash, this.#clock);
    this.#seats.push(seat);
    return seat;
  }
}

/** A queue among the others. */
export class Seat {
  readonly queue: Steered;
  /** All of the guest's, by number. */
  readonly #seats: readonly Seat[];
  readonly #hash: HashState;
  readonly #clock: Clock;
  /** Whose room the rest of the batch waits for, and since when. */
  #waitsFor: Seat | undefined;
  #sinceMs: number | undefined;

  constructor(queue: Steered, seats: readonly Seat[], hash: HashState, clock: Clock) {
    this.queue = queue;
    this.#seats = seats;
    this.#hash = hash;
    this.#clock = clock;
  }

  /** The guest chooses; until it does, the port's own choice stands. */
  get active(): boolean {
    return this.#hash.active;
  }

  /** @returns whether another queue waits for the room that this one has now. Who reads first might wait for that one in turn. */
  yields(): boolean {
    let yields = false;
    for (let i = 0; i < this.#seats.length; i++) {
      const other = this.#seats[i];
      if (other.#waitsFor !== this) continue;
      other.queue.rouse();
      yields = true;
    }
    return yields;
  }

  /** Another queue's guest has buffers, and nothing comes for them. */
  get wanted(): boolean {
    if (!this.active) return false;
    for (let i = 0; i < this.#seats.length; i++) {
      const queue = this.#seats[i].queue;
      if (queue !== this.queue && queue.pending.empty && queue.able) return true;
    }
    return false;
  }

  /** Nothing is pending here: there is room for who waits for it, and what comes next may be behind a queue without buffers. */
  tell(): void {
    for (let i = 0; i < this.#seats.length; i++) {
      const other = this.#seats[i];
      if (other === this) continue;
      if (other.#waitsFor === this || (this.active && other.queue.blocks)) other.queue.rouse();
    }
  }

  /**
   * Moves the frames of a batch that was read to the queues that they are for. Each is whole there before it is gone here: a
   * life that is killed in between repeats one frame and loses none.
   * @returns milliseconds until another queue has room or the rest is dropped; 0: all of the batch is this queue's now.
   */
  sort(patient: boolean): number {
    const { pending } = this.queue;
    this.#waitsFor = undefined;
    const end = pending.unsorted;
    let roused = 0;
    let waitMs = 0;
    for (let i = pending.next; i < end && waitMs === 0; i++) {
      const chosen = pending.isRemoved(i) ? ANY_QUEUE : this.#hash.queueOf(pending.hashValues[i]);
      const seat = chosen === ANY_QUEUE ? this : this.#seats[chosen];
      if (seat === this || seat === undefined) continue;
      if (seat.queue.pending.append(pending, i)) roused |= 1 << chosen;
      else {
        if (patient) waitMs = this.#waitMs(seat);
        if (waitMs > 0) continue;
        seat.queue.counters.dropped++;
      }
      pending.remove(i);
    }
    if (waitMs === 0) this.#end();
    for (let i = 0; roused !== 0; i++, roused >>>= 1) if ((roused & 1) !== 0) this.#seats[i].queue.rouse();
    return waitMs;
  }

  #end(): void {
    this.#sinceMs = undefined;
    this.queue.pending.endSorting();
  }

  /** @returns how long to wait for another queue's room; 0: not any more, or it will not have any soon. */
  #waitMs(seat: Seat): number {
    if (!seat.queue.able && seat.queue.waitedMs >= ROOM_MS) return 0;
    const now = this.#clock.now();
    this.#sinceMs ??= now;
    const leftMs = this.#sinceMs + ROOM_MS - now;
    if (leftMs <= 0) return 0;
    this.#waitsFor = seat;
    return leftMs;
  }
}
