import type { FrameBatch, PortIo } from '../ports/types.js';
import * as ports from '../ports/types.js';
import * as netif from '../protocol/netif.js';
import { NONE_KEPT } from '../protocol/redo.js';
import { type BackRing, RING_BROKEN } from '../protocol/ring.js';
import { answerRx, refuseRx, rxPagesNeeded, rxSlotAfter, rxSlotsNeeded } from '../protocol/rx.js';
import type { GrantBatch, Grants, StagedGrants } from '../xen/types.js';
import * as xen from '../xen/types.js';
import { READ_BYTES, TO_GUEST_FRAMES } from './batches.js';
import type { Conform } from './conform.js';
import type { FlowCounters } from './counters.js';
import type { HashState } from './hash.js';
import type { Hooks } from './hooks.js';
import type { MulticastFilter } from './multicast.js';
import { rxFlagsOf, rxGsoOf } from './offload.js';
import type { Patience } from './patience.js';
import { BATCH_SLOTS, isForeignFault, type PumpResult } from './pump.js';
import type { PayloadMode } from './types.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_ALIGN, FRAMES_END, FRAMES_HEADER_WORDS, FRAMES_PHASE, FRAMES_START } = ports;
const { FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = ports;
const { RSP_ERROR, RX_SLOT_WORDS } = netif;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS, PAGE_SIZE } = xen;
const { OPS_COUNT, OPS_FAILED, OPS_HEADER_WORDS } = xen;

const TURN_BATCHES = 8;

/** What the guest said that it can take. */
export interface Taker {
  readonly scatterGather: boolean;
  readonly conform: Conform;
  /** Bytes that it wants free at the beginning of each page, for its XDP programs. It changes its mind while connected. */
  xdpHeadroom: number;
}

/**
 * Takes frames from a port and puts them into the buffers of the guest's RX ring. Frames that were read and
 * do not fit yet are held (at most one batch), and nothing more is read until they are delivered. The ring's log keeps them: should this life end, the next one delivers them.
 */
export class ToGuest {
  readonly frames: FrameBatch;
  readonly grants: GrantBatch;
  readonly #ring: BackRing;
  readonly #payload: PayloadMode;
  readonly #taker: Taker;
  readonly #hooks: Hooks;
  readonly #multicast: MulticastFilter;
  readonly #hash: HashState;
  readonly #counters: FlowCounters;
  readonly #patience: Patience;
  readonly #requests = new Uint32Array(BATCH_SLOTS * RX_SLOT_WORDS);
  readonly #responses = new Uint32Array(BATCH_SLOTS * RX_SLOT_WORDS);
  #io: PortIo | undefined;
  /** Frames [#next, frames.count) are held. */
  #next = 0;
  /** The port said that frames wait in it. */
  #offered = false;
  /** Slots that the guest had none for when it was last waited for. */
  #wanted = 0;
  /** By frame: HASH_TYPE_* of which the guest is told, and the hash. As they were when it was read. */
  readonly #hashTypes = new Uint8Array(TO_GUEST_FRAMES);
  readonly #hashValues = new Uint32Array(TO_GUEST_FRAMES);

  constructor(parts: {
    ring: BackRing;
    frames: FrameBatch;
    grants: Grants;
    domid: number;
    /** Grants that need no hypervisor. */
    staged?: StagedGrants | undefined;
    payload: PayloadMode;
    taker: Taker;
    hooks: Hooks;
    multicast: MulticastFilter;
    hash: HashState;
    counters: FlowCounters;
    patience: Patience;
  }) {
    this.frames = parts.frames;
    const { arena } = parts.frames;
    const { domid, staged } = parts;
    this.frames.block[FRAMES_START] = 0;
    this.frames.block[FRAMES_END] = READ_BYTES;
    // What goes into one of the guest's pages then comes out of one of ours: for Xen one copy, and not two.
    this.frames.block[FRAMES_ALIGN] = PAGE_SIZE;
    this.frames.block[FRAMES_PHASE] = 0;
    this.grants = parts.grants.batch({ domid, capacity: BATCH_SLOTS, arena, staged });
    this.#ring = parts.ring;
    this.#payload = parts.payload;
    this.#taker = parts.taker;
    this.#hooks = parts.hooks;
    this.#multicast = parts.multicast;
    this.#hash = parts.hash;
    this.#counters = parts.counters;
    this.#patience = parts.patience;
    // What an earlier life had read from the port and not delivered comes first.
    const { kept } = parts.ring;
    if (kept === NONE_KEPT) this.frames.count = 0;
    else this.#next = kept;
    this.#hashAll();
  }

  start(io: PortIo): void {
    this.#io = io;
  }

  /** Frames that were read and have no buffers yet. */
  get held(): number {
    return this.frames.count - this.#next;
  }

  /** Frames wait in the port. */
  offer(): void {
    this.#offered = true;
  }

  /** Moves what waits, a bounded amount. */
  pump(notify: () => void): PumpResult {
    // Rounds that move nothing count too: a guest that flickers its index must not hold us here.
    for (let round = 0; round < TURN_BATCHES; round++) {
      const waiting = this.#ring.waiting();
      if (waiting === RING_BROKEN) return { stop: 'to-guest ring: req_prod is beyond the ring' };
      if (waiting > 0 && this.#next === this.frames.count && !this.#read()) {
        if (this.#settle(waiting)) return 'idle';
        continue;
      }
      if (waiting === 0 || waiting < this.#slotsOf(this.#next)) {
        if (!this.#ring.arm()) return this.#wait();
        continue;
      }
      const fault = this.#deliver(Math.min(waiting, BATCH_SLOTS), notify);
      if (fault !== undefined) return { stop: `to-guest ring: ${fault}` };
    }
    return 'more';
  }

  /**
   * No frame waits. A guest that was stalled has recovered once there is room for what it had none for: its link may be
   * down, so that no frame will come to find that out. @returns false when requests came meanwhile: look again.
   */
  #settle(waiting: number): boolean {
    if (waiting >= this.#wanted) this.#patience.end();
    else if (this.#patience.stalled) return !this.#ring.arm();
    return true;
  }

  /** There is no room. Nobody waits for it for ever: neither frames, nor those who would see old ones come. */
  #wait(): PumpResult {
    if (this.#next === this.frames.count && !this.#offered) {
      this.#io?.wantReadable();
      return 'idle';
    }
    this.#wanted = this.#next < this.frames.count ? this.#slotsOf(this.#next) : 1;
    const waitMs = this.#patience.waitMs();
    if (waitMs > 0) return { waitMs };
    this.#dropWaiting();
    this.#io?.wantReadable();
    return 'idle';
  }

  /** Drops what is held, and what waits in the port behind it, a bounded amount. */
  #dropWaiting(): void {
    this.#offered = false;
    this.#countDropped();
    // First: what is read next takes the place of what was kept.
    this.#ring.keepNone();
    for (let batch = 0; batch < TURN_BATCHES; batch++) {
      this.frames.count = 0;
      if (this.#io === undefined || this.#io.read() === 0) break;
      this.#next = 0;
      this.#countDropped();
    }
    this.frames.count = 0;
    this.#next = 0;
  }

  /** Those of length 0 were filtered, and are counted there. */
  #countDropped(): void {
    for (let i = this.#next; i < this.frames.count; i++) {
      if (this.frames.block[FRAMES_HEADER_WORDS + i * FRAME_WORDS + FRAME_LENGTH] !== 0)
        this.#counters.dropped++;
    }
  }

  /** Fills the batch from the port. @returns false when no frame waits; the port will then tell. */
  #read(): boolean {
    const io = this.#io;
    if (io === undefined) return false;
    this.#next = 0;
    this.frames.count = 0;
    this.#offered = false;
    if (io.read() === 0) {
      io.wantReadable();
      return false;
    }
    if (this.#multicast.active) this.#multicast.run(this.frames, this.#counters);
    if (this.#hooks.active) this.#hooks.run(this.frames, 'to-guest', this.#counters);
    if (this.#taker.conform.active) this.#taker.conform.run(this.frames, this.#counters);
    this.#hashAll();
    this.#ring.keep(0);
    return true;
  }

  /** Hashes what is held, if the guest wants that. */
  #hashAll(): void {
    const { arena, block, count } = this.frames;
    const hash = this.#hash;
    if (!hash.active) {
      this.#hashTypes.fill(0);
      return;
    }
    for (let i = this.#next; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      this.#hashTypes[i] = hash.look(arena.bytes, block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]);
      this.#hashValues[i] = hash.value;
    }
  }

  /** Slots that held frame `index` takes; 0 for one that is not to be delivered. */
  #slotsOf(index: number): number {
    const block = this.frames.block;
    const at = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    const bytes = block[at + FRAME_LENGTH];
    if (bytes === 0) return 0;
    const gso = rxGsoOf(this.frames.arena.u32, block[at + FRAME_OFFSET]);
    const slots = rxSlotsNeeded(bytes, gso, this.#taker.xdpHeadroom, this.#hashTypes[index]);
    // A guest without scatter-gather takes one page a frame, extras aside; a GSO kind without a name cannot be told to it.
    const linear = !this.#taker.scatterGather;
    if (gso < 0 || (linear && rxPagesNeeded(bytes, this.#taker.xdpHeadroom) > 1)) {
      block[at + FRAME_LENGTH] = 0;
      this.#counters.dropped++;
      return 0;
    }
    return slots;
  }

  /** Delivers the held frames that `slots` slots have room for. @returns a reason to stop, or undefined. */
  #deliver(slots: number, notify: () => void): string | undefined {
    const first = this.#next;
    let end = first;
    let used = 0;
    for (; end < this.frames.count; end++) {
      const needed = this.#slotsOf(end);
      if (used + needed > slots) break;
      used += needed;
    }
    this.#next = end;
    const firstKept = end < this.frames.count ? end : NONE_KEPT;
    if (used === 0) {
      // Nothing but frames that are not to be delivered.
      if (firstKept === NONE_KEPT) this.#ring.keepNone();
      return undefined;
    }
    this.#ring.copy(used, this.#requests);
    this.#ring.take(used);
    this.#describe(first, end);
    if (this.#payload === 'copy') this.grants.copyToGuest();
    else this.grants.mapToGuest();
    const fault = this.grants.ops[OPS_FAILED] === 0 ? undefined : this.#refuseFailed(first, end);
    if (this.#ring.publish(this.#responses, used, firstKept)) notify();
    this.#patience.end();
    return fault;
  }

  /** Writes an operation for each page of frames [first, end), and the responses for when all goes well. */
  #describe(first: number, end: number): void {
    const { arena, block } = this.frames;
    const words = arena.u32;
    const ops = this.grants.ops;
    const requests = this.#requests;
    const headroom = this.#taker.xdpHeadroom;
    const room = PAGE_SIZE - headroom;
    let op = OPS_HEADER_WORDS;
    let next = 0;
    let frames = 0;
    let sum = 0;
    for (let i = first; i < end; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const offset = block[at + FRAME_OFFSET];
      const gso = rxGsoOf(words, offset);
      const hashType = this.#hashTypes[i];
      const flags = rxFlagsOf(words, offset);
      const value = this.#hashValues[i];
      answerRx(requests, next, bytes, flags, gso, this.#responses, headroom, hashType, value);
      const firstSlot = next;
      for (let done = 0; done < bytes; done += room) {
        const length = Math.min(room, bytes - done);
        ops[op + OP_REF] = requests[next * RX_SLOT_WORDS + 1];
        ops[op + OP_SPAN] = headroom | (length << 16);
        ops[op + OP_ARENA] = offset + done;
        ops[op + OP_HEAD] = length;
        op += OP_WORDS;
        next = rxSlotAfter(next, firstSlot, gso, headroom, hashType);
      }
      frames++;
      sum += bytes;
    }
    ops[OPS_COUNT] = (op - OPS_HEADER_WORDS) / OP_WORDS;
    this.#counters.batches++;
    this.#counters.frames += frames;
    this.#counters.bytes += sum;
  }

  /** Answers those of frames [first, end) with an error that could not be delivered. @returns a reason to stop, or undefined. */
  #refuseFailed(first: number, end: number): string | undefined {
    const { arena, block } = this.frames;
    const headroom = this.#taker.xdpHeadroom;
    let reason: string | undefined;
    let slot = 0;
    let op = 0;
    for (let i = first; i < end; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const gso = rxGsoOf(arena.u32, block[at + FRAME_OFFSET]);
      const slots = rxSlotsNeeded(bytes, gso, headroom, this.#hashTypes[i]);
      const pages = rxPagesNeeded(bytes, headroom);
      const status = this.#worstStatus(op, pages);
      if (status !== 0) this.#refuse(slot, slots, bytes);
      if (isForeignFault(status)) reason = `bad grant reference in a receive buffer (status ${status})`;
      op += pages;
      slot += slots;
    }
    return reason;
  }

  /** Takes back what `#describe` said of a frame. */
  #refuse(first: number, slots: number, bytes: number): void {
    for (let slot = first; slot < first + slots; slot++) {
      refuseRx(this.#requests, slot, RSP_ERROR, this.#responses);
    }
    this.#counters.errors++;
    this.#counters.frames--;
    this.#counters.bytes -= bytes;
  }

  /** The first status among `count` operations that is not 0. */
  #worstStatus(first: number, count: number): number {
    const ops = this.grants.ops;
    for (let op = first; op < first + count; op++) {
      const status = ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS] | 0;
      if (status !== 0) return status;
    }
    return 0;
  }
}
