import { QUEUES_MAX } from '../settings.js';
import * as layout from './counter-layout.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { AT_BATCHES, AT_BYTES, AT_DROPS, AT_ERRORS, AT_FILTERED, AT_FRAMES, AT_HOOK_ERRORS } = layout;
const { AT_FROM_GUEST, AT_PORT_DROPPED, AT_QUEUES, AT_STALLS, AT_TO_GUEST } = layout;
const { COUNTER_PAGE_DOUBLES, FLOW_DOUBLES, QUEUE_DOUBLES } = layout;

/**
 * Why a frame was dropped. Both directions have the same list, so that programs can add and print flows alike; a reason that does not occur
 * in a direction stays 0 there.
 *
 * port: the port had no room, for a frame of the guest or for a frame to the guest, which vifd then never read (the latter count for the vif
 * and for no queue). refused: the port refused a frame of the guest because it has no receiver, its link is down or its interface is gone.
 * offload: the frame's headers contradict its offload. unsupported: the guest cannot take such a frame. buffers: the guest posted no buffers
 * for the frame for 10 s. queue: the queue that the guest's hash mapping chose had no room. stale: the frame was sent to the port before the
 * guest connected. detached: a hook detached the guest, which ended the frame's memory. damaged: the journal listed an impossible frame.
 */
export type DropReason = keyof typeof AT_DROPS;

/** Dropped frames, by reason. */
export type Drops = { readonly [reason in DropReason]: number };

/** Every reason, in the order in which vifd prints them. */
export const DROP_REASONS = Object.keys(AT_DROPS) as DropReason[];

/** The counts of one direction. None of them ever decreases. */
export interface Flow {
  /** Frames that passed. */
  readonly frames: number;
  /** The bytes of these frames, from the Ethernet header on. */
  readonly bytes: number;
  /** Frames that a hook or the guest's multicast list filtered out. */
  readonly filtered: number;
  /** The sum of `drops`. */
  readonly dropped: number;
  /** Dropped frames, by reason. */
  readonly drops: Drops;
  /** Frames that could not be read or written: bad grants, bad sizes. */
  readonly errors: number;
  /** Frames that were dropped because a hook threw or returned no verdict (ERR_HOOK). */
  readonly hookErrors: number;
  /** Batches that crossed the data path; frames / batches is the mean size of a batch. */
  readonly batches: number;
}

/** The counters of a vif or of one queue, both directions. */
export interface VifStats {
  /** Frames that the guest sent. */
  readonly fromGuest: Flow;
  /** Frames for the guest. */
  readonly toGuest: Flow;
  /** How often vifd reported that the guest takes no frames (ERR_STALLED). */
  readonly stalls: number;
}

/**
 * Counts of one direction of a queue, written once a batch. Each count is a double in the vif's page: a store of 8 aligned bytes is
 * one store, so that neither a kill nor a reader of the page finds half of a value. Doubles are exact up to 2^53. A BigUint64Array would be
 * exact beyond that, but allocates a BigInt for each read; a kill could fall between the stores of two words of 32 bits.
 */
export class FlowCounters implements Flow {
  #counts: Float64Array;

  /** @param counts FLOW_DOUBLES doubles with the counts so far. Default: zeros, in memory that ends with the process. */
  constructor(counts: Float64Array = new Float64Array(FLOW_DOUBLES)) {
    this.#counts = counts;
  }

  /** Continues to count in other memory, from the counts that are there. */
  moveTo(counts: Float64Array): void {
    this.#counts = counts;
  }

  get frames(): number {
    return this.#counts[AT_FRAMES];
  }

  set frames(count: number) {
    this.#counts[AT_FRAMES] = count;
  }

  get bytes(): number {
    return this.#counts[AT_BYTES];
  }

  set bytes(count: number) {
    this.#counts[AT_BYTES] = count;
  }

  get filtered(): number {
    return this.#counts[AT_FILTERED];
  }

  set filtered(count: number) {
    this.#counts[AT_FILTERED] = count;
  }

  get errors(): number {
    return this.#counts[AT_ERRORS];
  }

  set errors(count: number) {
    this.#counts[AT_ERRORS] = count;
  }

  get hookErrors(): number {
    return this.#counts[AT_HOOK_ERRORS];
  }

  set hookErrors(count: number) {
    this.#counts[AT_HOOK_ERRORS] = count;
  }

  get batches(): number {
    return this.#counts[AT_BATCHES];
  }

  set batches(count: number) {
    this.#counts[AT_BATCHES] = count;
  }

  /** Counts a batch of frames that passed. One method, because V8 does not inline every accessor, and a call of one allocates a number. */
  countBatch(frames: number, bytes: number): void {
    const counts = this.#counts;
    counts[AT_BATCHES] += 1;
    counts[AT_FRAMES] += frames;
    counts[AT_BYTES] += bytes;
  }

  /** Counts dropped frames. */
  drop(reason: DropReason, frames = 1): void {
    this.#counts[AT_DROPS[reason]] += frames;
  }

  get drops(): Drops {
    const counts = this.#counts;
    return Object.fromEntries(DROP_REASONS.map((reason) => [reason, counts[AT_DROPS[reason]]])) as Drops;
  }

  get dropped(): number {
    return DROP_REASONS.reduce((sum, reason) => sum + this.#counts[AT_DROPS[reason]], 0);
  }

  /** Adds the counts of another flow. */
  add(other: FlowCounters): void {
    for (let i = 0; i < FLOW_DOUBLES; i++) this.#counts[i] += other.#counts[i];
  }

  /** Returns the present counts as plain data. */
  snapshot(): Flow {
    const { frames, bytes, filtered, dropped, drops, errors, hookErrors, batches } = this;
    return { frames, bytes, filtered, dropped, drops, errors, hookErrors, batches };
  }
}

/** One queue's counts, of all connections of its vif. */
export interface QueueCounters {
  readonly fromGuest: FlowCounters;
  readonly toGuest: FlowCounters;
}

/**
 * The counts of a vif, of all its queues and connections. They lie in one page: in memory of this process at first, and after `use` in a
 * journal, where the next process continues to count.
 */
export class VifCounters {
  readonly #queues: QueueCounters[];
  readonly #droppedByPort: () => number;
  #page: Float64Array = new Float64Array(COUNTER_PAGE_DOUBLES);
  /** The content of the page at the last `look`. */
  readonly #seen = new Float64Array(COUNTER_PAGE_DOUBLES);
  /** Queues that the vif has had in this process. */
  #used = 0;
  /** How much of the result of `#droppedByPort` is counted already. */
  #portSeen = 0;

  /** @param droppedByPort how many frames for the guest its ports have dropped in this process, before vifd could read them. */
  constructor(droppedByPort: () => number) {
    this.#droppedByPort = droppedByPort;
    this.#queues = Array.from({ length: QUEUES_MAX }, (_, queue) => ({
      fromGuest: new FlowCounters(flowIn(this.#page, queue, AT_FROM_GUEST)),
      toGuest: new FlowCounters(flowIn(this.#page, queue, AT_TO_GUEST)),
    }));
  }

  /** @param queue below QUEUES_MAX. */
  of(queue: number): QueueCounters {
    this.#used = Math.max(this.#used, queue + 1);
    return this.#queues[queue];
  }

  /** Counts a report that a queue's guest takes no frames. */
  countStall(queue: number): void {
    this.#page[stallsAt(queue)]++;
  }

  get sum(): VifStats {
    this.look();
    const fromGuest = new FlowCounters();
    const toGuest = new FlowCounters();
    let stalls = 0;
    this.#queues.forEach((queue, index) => {
      fromGuest.add(queue.fromGuest);
      toGuest.add(queue.toGuest);
      stalls += this.#page[stallsAt(index)];
    });
    toGuest.drop('port', this.#page[AT_PORT_DROPPED]);
    return { fromGuest: fromGuest.snapshot(), toGuest: toGuest.snapshot(), stalls };
  }

  /** The counts of each queue that the vif has or had. */
  get queues(): readonly VifStats[] {
    this.look();
    return this.#queues.slice(0, this.#count).map(({ fromGuest, toGuest }, queue) => ({
      fromGuest: fromGuest.snapshot(),
      toGuest: toGuest.snapshot(),
      stalls: this.#page[stallsAt(queue)],
    }));
  }

  /**
   * Counts the frames that the port dropped since the last call, and repairs the page. Counts never decrease: if one did, the page's file was
   * truncated. `look` then adds the new count to the count at the last call.
   */
  look(): void {
    const page = this.#page;
    const seen = this.#seen;
    for (let i = AT_PORT_DROPPED; i < COUNTER_PAGE_DOUBLES; i++) {
      if (!(page[i] >= seen[i])) page[i] = seen[i] + (page[i] > 0 ? page[i] : 0);
    }
    const dropped = this.#droppedByPort();
    if (dropped > this.#portSeen) {
      page[AT_PORT_DROPPED] += dropped - this.#portSeen;
      this.#portSeen = dropped;
    }
    seen.set(page);
  }

  /** Adds the counts to those of another page. */
  addTo(page: Float64Array): void {
    this.look();
    for (let i = AT_PORT_DROPPED; i < COUNTER_PAGE_DOUBLES; i++) page[i] += this.#page[i];
  }

  /** Continues to count in another page, from the counts that are there. */
  use(page: Float64Array): void {
    this.#page = page;
    this.#seen.set(page);
    this.#queues.forEach(({ fromGuest, toGuest }, queue) => {
      fromGuest.moveTo(flowIn(page, queue, AT_FROM_GUEST));
      toGuest.moveTo(flowIn(page, queue, AT_TO_GUEST));
    });
  }

  /** Continues to count in memory that ends with the process, from the counts in the page. */
  leavePage(): void {
    this.look();
    this.use(this.#page.slice());
  }

  /** How many queues the vif has, or had in this process or an earlier one. */
  get #count(): number {
    let last = COUNTER_PAGE_DOUBLES - 1;
    while (last >= AT_QUEUES && this.#page[last] === 0) last--;
    return Math.max(this.#used, Math.ceil((last + 1 - AT_QUEUES) / QUEUE_DOUBLES));
  }
}

function flowIn(page: Float64Array, queue: number, at: number): Float64Array {
  const first = AT_QUEUES + queue * QUEUE_DOUBLES + at;
  return page.subarray(first, first + FLOW_DOUBLES);
}

function stallsAt(queue: number): number {
  return AT_QUEUES + queue * QUEUE_DOUBLES + AT_STALLS;
}
