import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import type { GrantBatch, Grants, StagedGrants } from '../../xen/seam.js';
import { portFault } from '../faults/data-path-faults.js';
import { BATCH_SLOTS } from '../frames/batch-memory.js';
import type { GuestCapabilities } from '../frames/conform.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import type { HashState } from '../guest/hash.js';
import type { MulticastFilter } from '../guest/multicast.js';
import { type BackRing, RING_BROKEN } from '../ring/back-ring.js';
import type { LoopShare } from '../ring/loop-shares.js';
import type { PumpResult } from '../ring/turns.js';
import type { PayloadMode } from '../settings.js';
import { Delivery } from './delivery.js';
import { PendingFrames } from './pending-frames.js';
import type { Seat, Steered, Steering } from './sorting.js';
import type { Patience } from './stall-timer.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_ERRNO } = batch;

const TURN_BATCHES = 8;

/**
 * Takes frames from a port and puts them into the buffers of the guest's RX ring. Frames that were read and
 * do not fit yet are pending (at most one batch), and nothing more is read until they are delivered.
 */
export class ToGuest implements Steered {
  readonly pending: PendingFrames;
  readonly counters: FlowCounters;
  readonly grants: GrantBatch;
  readonly #ring: BackRing;
  readonly #delivery: Delivery;
  readonly #capabilities: GuestCapabilities;
  readonly #hooks: Hooks;
  readonly #multicast: MulticastFilter;
  readonly #hash: HashState;
  readonly #patience: Patience;
  readonly #share: LoopShare | undefined;
  /** Undefined when frames are no other queue's, whatever their hash. */
  readonly #seat: Seat | undefined;
  #io: PortIo | undefined;
  #rouse: () => void = () => {};
  /** The port said that frames wait in it. */
  #offered = false;
  /** What the port's last read failed with; 0: it did not. */
  #readErrno = 0;
  /** Slots that the guest had none for when it was last waited for. */
  #wanted = 0;

  constructor(parts: {
    ring: BackRing;
    frames: FrameBatch;
    grants: Grants;
    domid: number;
    /** Grants that need no hypervisor. */
    staged?: StagedGrants | undefined;
    payload: PayloadMode;
    capabilities: GuestCapabilities;
    hooks: Hooks;
    multicast: MulticastFilter;
    hash: HashState;
    counters: FlowCounters;
    patience: Patience;
    steering?: Steering | undefined;
    /** Ends a turn when the guest's slice is used up; undefined: only the number of batches does. */
    share?: LoopShare | undefined;
    /** Runs after each store to what is pending: where a simulation kills. */
    afterStore?: (() => void) | undefined;
  }) {
    this.pending = new PendingFrames(parts.frames, parts.ring, parts.afterStore);
    const { arena } = parts.frames;
    const { domid, staged } = parts;
    this.grants = parts.grants.batch({ domid, capacity: BATCH_SLOTS, arena, staged });
    this.#ring = parts.ring;
    this.#capabilities = parts.capabilities;
    this.#hooks = parts.hooks;
    this.#multicast = parts.multicast;
    this.#hash = parts.hash;
    this.counters = parts.counters;
    this.#delivery = new Delivery({ ...parts, grants: this.grants, pending: this.pending });
    this.#patience = parts.patience;
    this.#share = parts.share;
    this.#seat = parts.steering?.join(this);
    this.pending.hash(parts.hash);
  }

  /** @param rouse has this queue pumped soon: for other queues of the guest. */
  start(io: PortIo, rouse: () => void = () => {}): void {
    this.#io = io;
    this.#rouse = rouse;
  }

  get frames(): FrameBatch {
    return this.pending.frames;
  }

  get able(): boolean {
    const waiting = this.#ring.waiting();
    return waiting > 0 && (this.pending.empty || waiting >= this.#delivery.slotsOfNext());
  }

  get waitedMs(): number {
    return this.#patience.waitedMs;
  }

  get blocks(): boolean {
    return this.pending.empty ? this.#offered : this.#patience.lapsed;
  }

  rouse(): void {
    this.#rouse();
  }

  /** Frames wait in the port. */
  offer(): void {
    this.#offered = true;
  }

  /** Moves what waits, a bounded amount. */
  pump(notify: () => void): PumpResult {
    // Rounds that move nothing count too: a guest that flickers its index must not hold us here.
    for (let round = 0; round < TURN_BATCHES; round++) {
      if (round > 0 && this.#share?.over) return 'more';
      const waiting = this.#ring.waiting();
      if (waiting === RING_BROKEN) return { stop: 'to-guest ring: req_prod is beyond the ring' };
      const filled = this.#fill(waiting);
      if (filled === 'again') continue;
      if (filled !== undefined) return filled;
      if (waiting === 0 || waiting < this.#delivery.slotsOfNext()) {
        if (!this.#ring.arm()) return this.#wait();
        continue;
      }
      const ended = this.#deliver(Math.min(waiting, BATCH_SLOTS), notify);
      if (ended !== undefined) return ended;
      if (this.pending.empty) this.#seat?.tell();
    }
    return 'more';
  }

  /**
   * Sees to it that frames are pending if the guest has buffers, and that they are this queue's.
   * @returns how the turn ends, or that it begins again.
   */
  #fill(waiting: number): PumpResult | 'again' | undefined {
    const { pending } = this;
    const seat = this.#seat;
    if (seat === undefined)
      return waiting > 0 && pending.empty && !this.#read() ? this.#unread(waiting) : undefined;
    if (pending.unsorted === 0) {
      // For want of buffers it reads for the others alone.
      if (!pending.empty || (waiting === 0 && !seat.wanted)) return undefined;
      if (seat.yields()) return 'more';
      if (!this.#read()) {
        if (waiting > 0) seat.tell();
        return waiting > 0 || this.#readErrno !== 0 ? this.#unread(waiting) : undefined;
      }
      if (pending.unsorted === 0) return undefined;
    }
    const waitMs = seat.sort(true);
    if (waitMs > 0) return { waitMs };
    return pending.empty ? 'again' : undefined;
  }

  /**
   * No frame waits. A guest that was stalled has recovered once there is room for what it had none for: its link may be
   * down, so that no frame will come to find that out. @returns 'again' when requests came meanwhile.
   */
  #settle(waiting: number): 'idle' | 'again' {
    if (waiting >= this.#wanted) this.#patience.end();
    else if (this.#patience.stalled && this.#ring.arm()) return 'again';
    return 'idle';
  }

  /** The port gave no frame: there is none, or it failed. */
  #unread(waiting: number): PumpResult | 'again' {
    const fault = portFault('Reading frames for the guest', this.#readErrno);
    return fault === undefined ? this.#settle(waiting) : { fault };
  }

  /** There is no room. Nobody waits for it for ever: neither frames, nor those who would see old ones come. */
  #wait(): PumpResult {
    if (this.pending.empty && !this.#offered) {
      this.#io?.wantReadable();
      return 'idle';
    }
    this.#wanted = this.pending.empty ? 1 : this.#delivery.slotsOfNext();
    const waitMs = this.#patience.waitMs();
    if ((this.pending.empty || this.#patience.lapsed) && this.#seat?.wanted) {
      // What is behind these in the port may be another queue's, and has waited long enough.
      this.#dropHeld();
      return 'more';
    }
    if (waitMs > 0) return { waitMs };
    this.#dropWaiting();
    this.#io?.wantReadable();
    return 'idle';
  }

  /** Drops what is pending, and what waits in the port behind it, a bounded amount. What is another queue's goes there. */
  #dropWaiting(): void {
    this.#dropHeld();
    for (let batch = 0; batch < TURN_BATCHES; batch++) {
      if (!this.#fetch()) break;
      this.#seat?.sort(false);
      this.#dropHeld();
    }
  }

  #dropHeld(): void {
    this.counters.dropped += this.pending.remaining;
    this.pending.clear();
    this.#seat?.tell();
  }

  /** Fills the batch from the port. @returns false when no frame waits; the port will then tell. */
  #read(): boolean {
    if (this.#fetch()) return true;
    if (this.#readErrno === 0) this.#io?.wantReadable();
    return false;
  }

  /** Only while nothing is pending. @returns whether there are frames now. */
  #fetch(): boolean {
    this.#offered = false;
    const { pending } = this;
    pending.beginRead();
    const read = this.#io?.read() ?? 0;
    // With frames before it, it is met again by the next read.
    this.#readErrno = read > 0 ? 0 : pending.frames.block[FRAMES_ERRNO];
    if (read === 0) return false;
    if (this.#multicast.active) this.#multicast.run(pending.frames, this.counters);
    if (this.#hooks.active) this.#runHooks(read);
    this.#capabilities.conform.run(pending, this.counters);
    pending.hash(this.#hash);
    pending.record(this.#seat?.active === true);
    return true;
  }

  #runHooks(read: number): void {
    const { frames } = this.pending;
    this.#hooks.run(frames, 'to-guest', this.counters);
    // A hook has detached the guest, or taken the memory away: what was read is in no journal yet.
    if (frames.arena.bytes.length === 0) this.counters.dropped += read;
  }

  #deliver(slots: number, notify: () => void): PumpResult | undefined {
    const ended = this.#delivery.deliver(slots, notify);
    if (this.#delivery.moved) this.#patience.end();
    return ended;
  }
}
