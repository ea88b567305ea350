import {
  FRAME_FIRST_OP,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FrameBatch,
  frameAt,
  type PortIo,
} from '../ports/types.js';
import { RSP_ERROR, RSP_OKAY, TX_SLOT_WORDS } from '../protocol/netif.js';
import { type BackRing, RING_BROKEN } from '../protocol/ring.js';
import { answerTx, parseTx, TxFrames } from '../protocol/tx.js';
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
import { describeFromGuest, HEADERS_BYTES } from './offload.js';
import { isForeignFault, type PumpResult } from './pump.js';
import type { PayloadMode } from './types.js';

/** Slots of one batch. Several frames of the largest size (18 slots and extras) must fit. */
const BATCH_SLOTS = 128;
/** Batches of one turn: then other vifs have their turn. */
const TURN_BATCHES = 8;
/** Frames lie at 16 past a multiple of 64: the vnet header is in front, and its words are aligned. */
const FRAME_ALIGN = 64;
const FRAME_PHASE = 16;
const ARENA_BYTES = BATCH_SLOTS * (PAGE_SIZE + FRAME_ALIGN + FRAME_PHASE) + SPILL_BYTES;

/** Takes frames from the guest's TX ring and gives them to a port; answers when the port has them. */
export class FromGuest {
  readonly frames: FrameBatch;
  readonly grants: GrantBatch;
  readonly #ring: BackRing;
  readonly #payload: PayloadMode;
  readonly #hooks: Hooks;
  readonly #counters: FlowCounters;
  readonly #slots = new Uint32Array(BATCH_SLOTS * TX_SLOT_WORDS);
  readonly #responses = new Uint32Array(BATCH_SLOTS);
  readonly #parsed = new TxFrames(BATCH_SLOTS);
  #io: PortIo | undefined;
  /** The port takes bytes straight from mapped pages. */
  #direct = false;

  constructor(parts: {
    ring: BackRing;
    grants: Grants;
    domid: number;
    payload: PayloadMode;
    hooks: Hooks;
    counters: FlowCounters;
  }) {
    const arena = parts.grants.arena(ARENA_BYTES);
    this.frames = new FrameBatch(arena, BATCH_SLOTS);
    this.grants = parts.grants.batch({ domid: parts.domid, capacity: BATCH_SLOTS, arena });
    this.#ring = parts.ring;
    this.#payload = parts.payload;
    this.#hooks = parts.hooks;
    this.#counters = parts.counters;
  }

  start(io: PortIo, writesMapped: boolean): void {
    this.#io = io;
    this.#direct = this.#payload === 'map' && writesMapped;
  }

  /** Moves what waits, a bounded amount. `notify` runs when the guest asked to hear of our responses. */
  pump(notify: () => void): PumpResult {
    // Rounds that move nothing count too: a guest that flickers its index must not hold us here.
    for (let round = 0; round < TURN_BATCHES; round++) {
      const waiting = this.#ring.waiting();
      if (waiting === RING_BROKEN) return { stop: 'from-guest ring: req_prod is beyond the ring' };
      if (waiting === 0) {
        if (!this.#ring.arm()) return 'idle';
        continue;
      }
      const fault = this.#batch(Math.min(waiting, BATCH_SLOTS), waiting <= BATCH_SLOTS, notify);
      if (fault !== undefined) return { stop: `from-guest ring: ${fault}` };
    }
    return 'more';
  }

  #batch(slots: number, whole: boolean, notify: () => void): string | undefined {
    const parsed = this.#parsed;
    this.#ring.copy(slots, this.#slots);
    parseTx(this.#slots, slots, whole, parsed);
    if (parsed.slots === 0) return parsed.fault;
    this.#ring.take(parsed.slots);
    this.#describe();
    const refused = this.#fetch();
    if (this.#hooks.active) this.#hooks.run(this.frames, 'from-guest', this.#counters);
    this.#send();
    this.#answer(notify);
    return refused ?? parsed.fault;
  }

  /** Lays the frames out in the arena and writes an operation for each slot of data. */
  #describe(): void {
    const parsed = this.#parsed;
    const block = this.frames.block;
    const ops = this.grants.ops;
    const hooked = this.#hooks.active;
    let op = 0;
    let next = 0;
    for (let i = 0; i < parsed.count; i++) {
      const at = frameAt(i);
      block[at + FRAME_OP_COUNT] = 0;
      if (parsed.status[i] !== RSP_OKAY) {
        block[at + FRAME_LENGTH] = 0;
        continue;
      }
      const offset = next + FRAME_PHASE;
      block[at + FRAME_OFFSET] = offset;
      block[at + FRAME_LENGTH] = parsed.size[i];
      block[at + FRAME_FIRST_OP] = op;
      const direct = this.#direct && !hooked && this.#headersInFirstSlot(i);
      const first = op;
      op = this.#describeSlots(i, offset, op, ops, direct);
      if (direct) block[at + FRAME_OP_COUNT] = op - first;
      next = (offset + parsed.size[i] + FRAME_ALIGN - 1) & -FRAME_ALIGN;
    }
    ops[OPS_COUNT] = op;
    this.frames.count = parsed.count;
  }

  /** @returns the next free operation. */
  #describeSlots(index: number, offset: number, from: number, ops: Uint32Array, direct: boolean): number {
    const parsed = this.#parsed;
    const slots = this.#slots;
    const first = parsed.firstSlot[index];
    const end = first + parsed.slotCount[index];
    const extras = parsed.extraCount[index];
    let op = from;
    let place = offset;
    for (let slot = first; slot < end; slot += slot === first ? 1 + extras : 1) {
      const length = parsed.length[slot];
      const at = OPS_HEADER_WORDS + op * OP_WORDS;
      ops[at + OP_REF] = slots[slot * TX_SLOT_WORDS];
      ops[at + OP_SPAN] = (slots[slot * TX_SLOT_WORDS + 1] & 0xffff) | (length << 16);
      ops[at + OP_ARENA] = place;
      ops[at + OP_HEAD] = direct ? (slot === first ? Math.min(length, HEADERS_BYTES) : 0) : length;
      place += length;
      op++;
    }
    return op;
  }

  /** Headers are read from our copy, never from the guest's page: they must all be in the first operation. */
  #headersInFirstSlot(index: number): boolean {
    const own = this.#parsed.length[this.#parsed.firstSlot[index]];
    return own === this.#parsed.size[index] || own >= HEADERS_BYTES / 2;
  }

  /** Brings the bytes, then judges each frame. @returns the reason to stop, when a grant was not the guest's to give. */
  #fetch(): string | undefined {
    if (this.#payload === 'copy') this.grants.copyFromGuest();
    else this.grants.mapFromGuest();
    let refused: string | undefined;
    const parsed = this.#parsed;
    const block = this.frames.block;
    const ops = this.grants.ops;
    let op = 0;
    for (let i = 0; i < parsed.count; i++) {
      const at = frameAt(i);
      if (block[at + FRAME_LENGTH] === 0) continue;
      const end = op + parsed.slotCount[i] - parsed.extraCount[i];
      let status = 0;
      for (; op < end; op++) status |= ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS];
      if (status !== 0) refused = this.#refuse(i, end) ?? refused;
      else if (!this.#offload(i)) this.#drop(i);
    }
    return refused;
  }

  #offload(index: number): boolean {
    const parsed = this.#parsed;
    const at = frameAt(index);
    const size = parsed.size[index];
    const direct = this.frames.block[at + FRAME_OP_COUNT] !== 0;
    return describeFromGuest(
      this.frames.arena,
      this.frames.block[at + FRAME_OFFSET],
      size,
      direct ? Math.min(parsed.length[parsed.firstSlot[index]], HEADERS_BYTES) : size,
      parsed.flags[index],
      parsed.gsoType[index],
      parsed.gsoSize[index],
    );
  }

  /** A frame whose bytes could not be had is answered with an error. @returns a reason to stop, or undefined. */
  #refuse(index: number, endOp: number): string | undefined {
    const parsed = this.#parsed;
    parsed.status[index] = RSP_ERROR;
    this.frames.block[frameAt(index) + FRAME_LENGTH] = 0;
    const count = parsed.slotCount[index] - parsed.extraCount[index];
    for (let op = endOp - count; op < endOp; op++) {
      const at = OPS_HEADER_WORDS + op * OP_WORDS;
      const status = this.grants.ops[at + OP_STATUS] | 0;
      if (isForeignFault(status))
        return `bad grant reference ${this.grants.ops[at + OP_REF]} (status ${status})`;
    }
    return undefined;
  }

  /** The guest is told that the frame was sent, as Linux tells it: offloads that contradict the frame are its own loss. */
  #drop(index: number): void {
    this.frames.block[frameAt(index) + FRAME_LENGTH] = 0;
    this.#counters.dropped++;
  }

  #send(): void {
    const count = this.frames.count;
    const written = this.#io?.write() ?? 0;
    const block = this.frames.block;
    const counters = this.#counters;
    counters.batches++;
    for (let i = 0; i < count; i++) {
      const length = block[frameAt(i) + FRAME_LENGTH];
      if (this.#parsed.status[i] !== RSP_OKAY) counters.errors++;
      if (length === 0) continue;
      if (i >= written || block[frameAt(i) + FRAME_STATUS] !== 0) {
        counters.dropped++;
        continue;
      }
      counters.frames++;
      counters.bytes += length;
    }
    // Before the answer: a guest may end a grant as soon as it is answered, and must not find it in use.
    if (this.#payload === 'map') this.grants.unmap();
  }

  #answer(notify: () => void): void {
    const parsed = this.#parsed;
    for (let i = 0; i < parsed.count; i++) answerTx(this.#slots, parsed, i, this.#responses);
    if (this.#ring.publish(this.#responses, parsed.slots)) notify();
  }
}
