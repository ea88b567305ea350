import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAMES_END,
  FRAMES_START,
  FrameBatch,
  frameAt,
  type PortIo,
} from '../ports/types.js';
import { RSP_ERROR, RX_SLOT_WORDS } from '../protocol/netif.js';
import { type BackRing, RING_BROKEN } from '../protocol/ring.js';
import { answerRx, refuseRx, rxSlotOfChunk, rxSlotsNeeded } from '../protocol/rx.js';
import {
  type GrantBatch,
  type Grants,
  OP_ARENA,
  OP_HEAD,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
} from '../xen/types.js';
import type { FlowCounters } from './counters.js';
import { type Hooks, SPILL_BYTES } from './hooks.js';
import { rxFlagsOf, rxGsoSizeOf, rxGsoTypeOf } from './offload.js';
import { isForeignFault, type PumpResult } from './pump.js';
import type { PayloadMode } from './types.js';

/** Slots delivered by one call: one grant operation each. */
const BATCH_SLOTS = 128;
const BATCH_FRAMES = 64;
const TURN_BATCHES = 8;
/** Room to read several frames of the largest size, or a full batch of small ones. */
const READ_BYTES = 8 * (FRAME_BYTES_MAX + 64) + BATCH_FRAMES * 2048;

/** What the guest said that it can take. */
export interface Taker {
  readonly scatterGather: boolean;
}

/**
 * Takes frames from a port and puts them into the buffers of the guest's RX ring. Frames that were read and
 * do not fit yet are held (at most one batch), and nothing more is read until they are delivered.
 */
export class ToGuest {
  readonly frames: FrameBatch;
  readonly grants: GrantBatch;
  readonly #ring: BackRing;
  readonly #payload: PayloadMode;
  readonly #taker: Taker;
  readonly #hooks: Hooks;
  readonly #counters: FlowCounters;
  readonly #requests = new Uint32Array(BATCH_SLOTS * RX_SLOT_WORDS);
  readonly #responses = new Uint32Array(BATCH_SLOTS * RX_SLOT_WORDS);
  #io: PortIo | undefined;
  /** Frames [#next, frames.count) are held. */
  #next = 0;

  constructor(parts: {
    ring: BackRing;
    grants: Grants;
    domid: number;
    payload: PayloadMode;
    taker: Taker;
    hooks: Hooks;
    counters: FlowCounters;
  }) {
    const arena = parts.grants.arena(READ_BYTES + SPILL_BYTES);
    this.frames = new FrameBatch(arena, BATCH_FRAMES);
    this.frames.block[FRAMES_START] = 0;
    this.frames.block[FRAMES_END] = READ_BYTES;
    this.grants = parts.grants.batch({ domid: parts.domid, capacity: BATCH_SLOTS, arena });
    this.#ring = parts.ring;
    this.#payload = parts.payload;
    this.#taker = parts.taker;
    this.#hooks = parts.hooks;
    this.#counters = parts.counters;
  }

  start(io: PortIo): void {
    this.#io = io;
  }

  /** Moves what waits, a bounded amount. */
  pump(notify: () => void): PumpResult {
    // Rounds that move nothing count too: a guest that flickers its index must not hold us here.
    for (let round = 0; round < TURN_BATCHES; round++) {
      const waiting = this.#ring.waiting();
      if (waiting === RING_BROKEN) return { stop: 'to-guest ring: req_prod is beyond the ring' };
      if (waiting > 0 && this.#next === this.frames.count && !this.#read()) return 'idle';
      if (waiting === 0 || waiting < this.#slotsOf(this.#next)) {
        if (!this.#ring.arm()) return 'idle';
        continue;
      }
      const fault = this.#deliver(Math.min(waiting, BATCH_SLOTS), notify);
      if (fault !== undefined) return { stop: `to-guest ring: ${fault}` };
    }
    return 'more';
  }

  /** Fills the batch from the port. @returns false when no frame waits; the port will then tell. */
  #read(): boolean {
    const io = this.#io;
    if (io === undefined) return false;
    this.#next = 0;
    this.frames.count = 0;
    if (io.read() === 0) {
      io.wantReadable();
      return false;
    }
    if (this.#hooks.active) this.#hooks.run(this.frames, 'to-guest', this.#counters);
    return true;
  }

  /** Slots that held frame `index` takes; 0 for one that is not to be delivered. */
  #slotsOf(index: number): number {
    const at = frameAt(index);
    const bytes = this.frames.block[at + FRAME_LENGTH];
    if (bytes === 0) return 0;
    const gsoType = rxGsoTypeOf(this.frames.arena.u32, this.frames.block[at + FRAME_OFFSET]);
    const slots = rxSlotsNeeded(bytes, Math.max(gsoType, 0));
    // A guest without scatter-gather takes one slot a frame; a GSO kind without a name cannot be told to it.
    if (gsoType < 0 || (slots > 1 && !this.#taker.scatterGather)) {
      this.frames.block[at + FRAME_LENGTH] = 0;
      this.#counters.dropped++;
      return 0;
    }
    return slots;
  }

  #deliver(slots: number, notify: () => void): string | undefined {
    this.#ring.copy(slots, this.#requests);
    const first = this.#next;
    let used = 0;
    let op = 0;
    for (; this.#next < this.frames.count; this.#next++) {
      const needed = this.#slotsOf(this.#next);
      if (used + needed > slots) break;
      if (needed === 0) continue;
      op = this.#describe(this.#next, used, op);
      used += needed;
    }
    if (used === 0) return undefined;
    this.grants.ops[OPS_COUNT] = op;
    this.#ring.take(used);
    if (this.#payload === 'copy') this.grants.copyToGuest();
    else this.grants.mapToGuest();
    const fault = this.#answer(first, this.#next);
    if (this.#ring.publish(this.#responses, used)) notify();
    return fault;
  }

  /** Writes an operation for each page of the frame. @returns the next free operation. */
  #describe(index: number, firstSlot: number, from: number): number {
    const at = frameAt(index);
    const offset = this.frames.block[at + FRAME_OFFSET];
    const bytes = this.frames.block[at + FRAME_LENGTH];
    const gsoType = rxGsoTypeOf(this.frames.arena.u32, offset);
    const ops = this.grants.ops;
    let op = from;
    for (let done = 0, chunk = 0; done < bytes; done += PAGE_SIZE, chunk++) {
      const length = Math.min(PAGE_SIZE, bytes - done);
      const slot = firstSlot + rxSlotOfChunk(chunk, gsoType);
      const word = OPS_HEADER_WORDS + op * OP_WORDS;
      ops[word + OP_REF] = this.#requests[slot * RX_SLOT_WORDS + 1];
      ops[word + OP_SPAN] = length << 16;
      ops[word + OP_ARENA] = offset + done;
      ops[word + OP_HEAD] = length;
      op++;
    }
    return op;
  }

  /** Writes the responses of frames [from, to). @returns the reason to stop, when a buffer was not the guest's to give. */
  #answer(from: number, to: number): string | undefined {
    let refused: string | undefined;
    let slot = 0;
    let op = 0;
    this.#counters.batches++;
    for (let i = from; i < to; i++) {
      const at = frameAt(i);
      const bytes = this.frames.block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const offset = this.frames.block[at + FRAME_OFFSET];
      const words = this.frames.arena.u32;
      const pages = Math.ceil(bytes / PAGE_SIZE);
      const status = this.#worstStatus(op, pages);
      const gsoType = rxGsoTypeOf(words, offset);
      if (status === 0) {
        answerRx(
          this.#requests,
          slot,
          bytes,
          rxFlagsOf(words, offset),
          gsoType,
          rxGsoSizeOf(words, offset),
          this.#responses,
        );
        this.#counters.frames++;
        this.#counters.bytes += bytes;
      } else {
        this.#refuse(slot, rxSlotsNeeded(bytes, gsoType));
        if (isForeignFault(status)) refused = `bad grant reference in a receive buffer (status ${status})`;
      }
      op += pages;
      slot += rxSlotsNeeded(bytes, gsoType);
    }
    return refused;
  }

  #refuse(first: number, slots: number): void {
    for (let slot = first; slot < first + slots; slot++)
      refuseRx(this.#requests, slot, RSP_ERROR, this.#responses);
    this.#counters.errors++;
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
