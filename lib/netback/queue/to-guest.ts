import type { VifdError } from '../../errors.js';
import type { FrameBatch } from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import type { Clock, GrantBatch, Grants, StagedGrants } from '../../xen/seam.js';
import { portFault } from '../faults/data-path-faults.js';
import * as batches from '../frames/batch-memory.js';
import type { GuestCapabilities } from '../frames/conform.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import type { SentFrames } from '../frames/sent-frames.js';
import type { HashState } from '../guest/hash.js';
import type { MulticastFilter } from '../guest/multicast.js';
import type { BackRing } from '../ring/back-ring.js';
import type { LoopShare } from '../ring/loop-shares.js';
import type { PumpResult } from '../ring/turns.js';
import type { PayloadMode } from '../settings.js';
import { type Delivered, Delivery } from './delivery.js';
import { PendingFrames } from './pending-frames.js';
import { PortReader } from './port-reader.js';
import type { Sorting, SortingGroup } from './sorting.js';
import { StallTimer } from './stall-timer.js';
import { ToGuestState } from './to-guest-state.js';
import * as steps from './to-guest-steps.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { BATCH_SLOTS } = batches;
const { nextStep, ROUND_STEPS_MAX } = steps;

const TURN_BATCHES = 8;

export interface StallListener {
  /** Called when the guest takes no frames. The queue resumes by itself when the guest does. */
  onStall(): void;
  /** Called when the guest takes frames again. */
  onRecovery(): void;
}

/**
 * Takes frames from a port and puts them into the buffers of the guest's RX ring. Frames that were read and do not fit yet are pending (at
 * most one batch), and vifd reads no more until they are delivered. `nextStep` chooses each step from a `ToGuestState`; this class takes it.
 */
export class ToGuest {
  readonly grants: GrantBatch;
  readonly #ring: BackRing;
  readonly #pending: PendingFrames;
  readonly #reader: PortReader;
  readonly #delivery: Delivery;
  readonly #timer: StallTimer;
  readonly #state: ToGuestState;
  /** Undefined for a guest that cannot choose the queues of its frames. */
  readonly #sorting: Sorting | undefined;
  readonly #hash: HashState;
  readonly #counters: FlowCounters;
  readonly #stalls: StallListener;
  readonly #share: LoopShare | undefined;

  constructor(parts: {
    ring: BackRing;
    frames: FrameBatch;
    grants: Grants;
    domid: number;
    /** Grants that stay mapped, and need no hypercall. */
    staged?: StagedGrants | undefined;
    payload: PayloadMode;
    capabilities: GuestCapabilities;
    hooks: Hooks;
    multicast: MulticastFilter;
    hash: HashState;
    /** Frames of the program for this guest. */
    sent?: SentFrames | undefined;
    counters: FlowCounters;
    clock: Clock;
    /** Whether the guest sends an event when it posts buffers (feature-rx-notify). */
    rxNotify: boolean;
    stalls: StallListener;
    sorting?: SortingGroup | undefined;
    /** Ends a turn when the guest's slice is used up; undefined: only the number of batches ends it. */
    share?: LoopShare | undefined;
    /** Runs after each store to the pending frames; a simulation kills the process there. */
    afterStore?: (() => void) | undefined;
  }) {
    const { ring, frames, counters, domid, staged } = parts;
    const pending = new PendingFrames(frames, ring, parts.afterStore);
    const capacity = BATCH_SLOTS;
    this.grants = parts.grants.batch({ domid, capacity, arena: frames.arena, staged });
    this.#ring = ring;
    this.#pending = pending;
    this.#hash = parts.hash;
    this.#counters = counters;
    this.#reader = new PortReader({ ...parts, pending });
    this.#delivery = new Delivery({ ...parts, grants: this.grants, pending });
    this.#timer = new StallTimer(parts.clock, parts.rxNotify);
    this.#state = new ToGuestState({
      ...{ pending, counters, ring },
      delivery: this.#delivery,
      timer: this.#timer,
    });
    this.#stalls = parts.stalls;
    this.#share = parts.share;
    this.#sorting = parts.sorting?.join(this.#state);
    pending.hash(parts.hash);
  }

  /** @param rouse gives this queue a turn soon; the guest's other queues call it. */
  start(io: PortIo, rouse: () => void = () => {}): void {
    this.#reader.start(io);
    this.#state.rouse = rouse;
  }

  /** The batch that the port reads into. */
  get frames(): FrameBatch {
    return this.#pending.frames;
  }

  get pendingFrames(): number {
    return this.#pending.size;
  }

  get stalled(): boolean {
    return this.#timer.stalled;
  }

  /** Call it when frames wait in the port. */
  offer(): void {
    this.#state.isOffered = true;
  }

  /** Runs a turn: moves the frames that wait, a bounded amount. */
  pump(notify: () => void): PumpResult {
    // Rounds that move nothing count too, so that a guest that keeps changing its index cannot prolong the turn.
    for (let round = 0; round < TURN_BATCHES; round++) {
      if (round > 0 && this.#share?.over) return 'more';
      // While buffers are left, there is no need to read `req_prod` again.
      if (round === 0 || !this.#state.hasLeft) this.#state.look();
      const ended = this.#round(notify);
      if (ended !== undefined) return ended;
    }
    return 'more';
  }

  /** Takes steps, up to the delivery of one batch. @returns how the turn ends; undefined if another round follows. */
  #round(notify: () => void): PumpResult | undefined {
    const state = this.#state;
    for (let step = 0; step < ROUND_STEPS_MAX; step++) {
      switch (nextStep(state, this.#sorting)) {
        case 'read':
          state.isOffered = false;
          if (this.#reader.fetch() > 0) {
            if (this.#layOutPlain()) return this.#deliverPlain(notify);
            this.#reader.accept(this.#sorting?.active === true);
          } else {
            const fault = this.#listen();
            if (fault !== undefined) return { fault };
          }
          break;
        case 'deliver':
          return this.#deliver(notify);
        case 'recover':
          this.#endWait();
          return 'idle';
        case 'rest':
          return 'idle';
        case 'sort': {
          const waitMs = this.#sorting?.sort(true) ?? 0;
          if (waitMs > 0) return { waitMs };
          if (this.#pending.empty) return undefined;
          break;
        }
        case 'arm':
          if (this.#ring.arm()) {
            state.look();
            return undefined;
          }
          state.isArmed = true;
          break;
        case 'listen':
          this.#reader.listen();
          return 'idle';
        case 'time':
          this.#timeWait();
          break;
        case 'wait':
          return { waitMs: state.leftMs ?? 0 };
        case 'yield':
          this.#sorting?.rouseWaiting();
          return 'more';
        case 'make way':
          this.#dropPending();
          return 'more';
        case 'drop':
          this.#dropWaiting();
          this.#reader.listen();
          return 'idle';
        case 'stop':
          return { stop: 'to-guest ring: req_prod is beyond the ring' };
      }
    }
    return undefined;
  }

  /** Asks the port, which has no frames now, to report the next one. @returns why the port could not be read, if so. */
  #listen(): VifdError | undefined {
    const { errno } = this.#reader;
    this.#state.isDry = true;
    if (this.#state.slots > 0) this.#sorting?.rouseOthers();
    if (errno !== 0) return portFault('Reading frames for the guest', errno);
    this.#reader.listen();
    return undefined;
  }

  /** Whether the frames of the last read are plain, which nearly all reads are; then they are laid out, and `#deliverPlain` follows. */
  #layOutPlain(): boolean {
    if (this.#hash.active || this.#sorting?.active === true) return false;
    return this.#delivery.layOutPlain(this.#state.slots);
  }

  /** Does for plain frames what the steps `read` and `deliver` do. */
  #deliverPlain(notify: () => void): PumpResult | undefined {
    this.#pending.record(false);
    const ended = this.#delivery.deliverPlain(notify);
    // The frames stay pending, and go the general way later.
    if (this.#delivery.slotsTaken === 0) this.#reader.decode();
    return this.#endDelivery(ended);
  }

  #deliver(notify: () => void): PumpResult | undefined {
    return this.#endDelivery(this.#delivery.deliver(Math.min(this.#state.slots, BATCH_SLOTS), notify));
  }

  #endDelivery(ended: Delivered): PumpResult | undefined {
    const { slotsTaken } = this.#delivery;
    if (slotsTaken > 0) {
      this.#state.slots -= slotsTaken;
      this.#endWait();
    }
    if (ended === undefined && this.#pending.empty) this.#sorting?.rouseOthers();
    return ended;
  }

  #endWait(): void {
    if (this.#timer.end()) this.#stalls.onRecovery();
  }

  #timeWait(): void {
    const state = this.#state;
    state.slotsWanted = this.#pending.empty ? 1 : state.slotsNeeded;
    if (this.#timer.begin()) this.#stalls.onStall();
    state.leftMs = this.#timer.leftMs();
  }

  /** Drops the pending frames, and those behind them in the port, a bounded amount. Frames that belong to another queue are moved there. */
  #dropWaiting(): void {
    this.#dropPending();
    for (let batch = 0; batch < TURN_BATCHES; batch++) {
      this.#state.isOffered = false;
      if (this.#reader.fetch() === 0) break;
      this.#reader.accept(this.#sorting?.active === true);
      this.#sorting?.sort(false);
      this.#dropPending();
    }
  }

  #dropPending(): void {
    this.#counters.drop('buffers', this.#pending.remaining);
    this.#pending.clear();
    this.#sorting?.rouseOthers();
  }
}
