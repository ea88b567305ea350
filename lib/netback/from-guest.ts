import type { FrameBatch, PortIo } from '../ports/types.js';
import * as ports from '../ports/types.js';
import * as netif from '../protocol/netif.js';
import { NONE_KEPT } from '../protocol/redo.js';
import { type BackRing, RING_BROKEN } from '../protocol/ring.js';
import { parseTx, ROLE_DATA, ROLE_NONE, ROLE_REFUSED, TxFrames } from '../protocol/tx.js';
import type { Clock, GrantBatch, Grants, StagedGrants } from '../xen/types.js';
import * as xen from '../xen/types.js';
import * as batches from './batches.js';
import type { FlowCounters } from './counters.js';
import type { CreditTurn } from './credit-turns.js';
import type { Hooks } from './hooks.js';
import type { MulticastFilter } from './multicast.js';
import { describeFromGuest, HEADERS_BYTES } from './offload.js';
import { BATCH_SLOTS, isForeignFault, type PumpResult } from './pump.js';
import type { PayloadMode } from './types.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_COUNT, FRAMES_ERRNO, FRAMES_HEADER_WORDS, FRAME_WORDS } = ports;
const { FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_OP_COUNT, FRAME_STATUS } = ports;
const { EXTRA_TYPE_MCAST_ADD, TX_FLAG_MORE_DATA, TX_SLOT_WORDS } = netif;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS, PAGE_SIZE } = xen;
const { OPS_COUNT, OPS_FAILED, OPS_HEADER_WORDS } = xen;
const { FRAME_ALIGN, FRAME_PHASE, PHASE_BYTES } = batches;
const [NONE, DATA, REFUSED] = [ROLE_NONE, ROLE_DATA, ROLE_REFUSED];

/** Batches of one turn: then other vifs have their turn. */
const TURN_BATCHES = 8;

/**
 * Takes frames from the guest's TX ring and gives them to a port. The guest is answered as soon as their bytes are ours,
 * before the port has them: the largest single gain that a prototype measured. The ring keeps them in its log until then.
 */
export class FromGuest {
  readonly frames: FrameBatch;
  readonly grants: GrantBatch;
  readonly #ring: BackRing;
  readonly #payload: PayloadMode;
  readonly #hooks: Hooks;
  readonly #multicast: MulticastFilter;
  readonly #credit: CreditTurn;
  readonly #clock: Clock;
  readonly #counters: FlowCounters;
  readonly #slots = new Uint32Array(BATCH_SLOTS * TX_SLOT_WORDS);
  readonly #parsed = new TxFrames(BATCH_SLOTS);
  #io: PortIo | undefined;
  /** The port takes bytes straight from mapped pages. */
  #direct = false;
  /** Of the batch at hand: bytes of all its frames, and whether all are to be sent as the guest gave them. */
  #bytes = 0;
  #intact = false;
  /** The batch at hand was cut by the guest's rate. */
  #exhausted = false;

  constructor(parts: {
    ring: BackRing;
    frames: FrameBatch;
    grants: Grants;
    domid: number;
    /** Grants that need no hypervisor. */
    staged?: StagedGrants | undefined;
    payload: PayloadMode;
    hooks: Hooks;
    multicast: MulticastFilter;
    credit: CreditTurn;
    clock: Clock;
    counters: FlowCounters;
  }) {
    this.frames = parts.frames;
    const { arena } = parts.frames;
    const { domid, staged } = parts;
    this.grants = parts.grants.batch({ domid, capacity: BATCH_SLOTS, arena, staged });
    this.#ring = parts.ring;
    this.#payload = parts.payload;
    this.#hooks = parts.hooks;
    this.#multicast = parts.multicast;
    this.#credit = parts.credit;
    this.#clock = parts.clock;
    this.#counters = parts.counters;
  }

  start(io: PortIo, writesMapped: boolean): void {
    this.#io = io;
    this.#direct = this.#payload === 'map' && writesMapped;
    this.#finish();
  }

  /** Writes what an earlier life had answered and perhaps not written. Hooks have seen these frames. */
  #finish(): void {
    if (this.#ring.kept !== NONE_KEPT) {
      this.#count(this.#io?.write() ?? 0);
      this.#ring.keepNone();
    }
    // An earlier life may have mapped pages where this one copies.
    this.frames.block.fill(0, FRAMES_HEADER_WORDS);
  }

  /** Moves what waits, a bounded amount. `notify` runs when the guest asked to hear of our responses. */
  pump(notify: () => void): PumpResult {
    this.#credit.look();
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
      if (this.#exhausted) return { waitMs: this.#credit.refuse(this.#clock.now()) };
    }
    return 'more';
  }

  #batch(slots: number, whole: boolean, notify: () => void): string | undefined {
    const parsed = this.#parsed;
    this.#ring.copy(slots, this.#slots);
    parseTx(this.#slots, slots, whole, parsed);
    this.#exhausted = this.#credit.limited && this.#exceeds();
    if (parsed.slots === 0) return parsed.fault;
    this.#ring.take(parsed.slots);
    if (parsed.commands > 0) this.#command();
    this.#describe();
    const refused = this.#fetch();
    this.#intact &&= parsed.refusals === 0 && !this.#hooks.active;
    if (this.#hooks.active) this.#hooks.run(this.frames, 'from-guest', this.#counters, parsed);
    this.#counters.errors += parsed.refusals;
    if (this.#ours()) this.#answerAndSend(notify);
    else this.#sendAndAnswer(notify);
    return refused ?? parsed.fault;
  }

  /** Takes as many of the frames as the guest's rate allows. @returns whether some must wait. */
  #exceeds(): boolean {
    const parsed = this.#parsed;
    const available = this.#credit.available(this.#clock.now());
    let bytes = 0;
    let frames = 0;
    while (frames < parsed.count && bytes + parsed.size(frames) <= available) {
      bytes += parsed.size(frames);
      frames++;
    }
    this.#credit.spend(bytes);
    const exceeds = frames < parsed.count;
    parsed.truncate(frames);
    return exceeds;
  }

  /** No frame's bytes are the guest's pages any more: it may have these back. */
  #ours(): boolean {
    return !this.#direct || this.#hooks.active;
  }

  #answerAndSend(notify: () => void): void {
    // A guest may end a grant as soon as it is answered, and must not find it in use.
    if (this.#payload === 'map') this.grants.unmap();
    if (this.#ring.publish(this.#parsed.responses, this.#parsed.slots, 0)) notify();
    this.#send();
    this.#ring.keepNone();
  }

  #sendAndAnswer(notify: () => void): void {
    this.#send();
    this.grants.unmap();
    if (this.#ring.publish(this.#parsed.responses, this.#parsed.slots)) notify();
  }

  /** Changes the multicast list as the guest says. Killed before it is answered, the next life does it again: no harm. */
  #command(): void {
    const parsed = this.#parsed;
    for (let i = 0; i < parsed.commands; i++) {
      const at = parsed.commandSlots[i] * TX_SLOT_WORDS;
      const [head, low] = [this.#slots[at], this.#slots[at + 1]];
      if ((head & 0xff) !== EXTRA_TYPE_MCAST_ADD) this.#multicast.remove(head >>> 16, low);
      else if (!this.#multicast.add(head >>> 16, low)) continue;
      parsed.fulfil(i);
    }
  }

  /** Lays the frames out in the arena and writes an operation for each slot of data. One loop without calls: it is hot. */
  #describe(): void {
    const { roles, slots: count } = this.#parsed;
    const slots = this.#slots;
    const block = this.frames.block;
    const ops = this.grants.ops;
    let frame = FRAMES_HEADER_WORDS - FRAME_WORDS;
    let op = OPS_HEADER_WORDS;
    let place = 0;
    let slack = PHASE_BYTES;
    let bytes = 0;
    for (let slot = 0; slot < count; slot++) {
      const role = roles[slot];
      if (role === NONE) continue;
      const from = slot * TX_SLOT_WORDS;
      const length = role === REFUSED ? 0 : slots[from + 2] >>> 16;
      if (role === DATA) {
        block[frame + FRAME_LENGTH] += length;
      } else {
        frame += FRAME_WORDS;
        place = ((place + FRAME_ALIGN - 1) & -FRAME_ALIGN) + FRAME_PHASE;
        const pad = this.#padding(slot, place, length);
        if (pad <= slack) {
          place += pad;
          slack -= pad;
        }
        block[frame + FRAME_OFFSET] = place;
        block[frame + FRAME_LENGTH] = length;
        if (role === REFUSED) continue;
      }
      ops[op + OP_REF] = slots[from];
      ops[op + OP_SPAN] = (slots[from + 1] & 0xffff) | (length << 16);
      ops[op + OP_ARENA] = place;
      op += OP_WORDS;
      place += length;
      bytes += length;
    }
    ops[OPS_COUNT] = (op - OPS_HEADER_WORDS) / OP_WORDS;
    block[FRAMES_COUNT] = this.#parsed.count;
    this.#bytes = bytes;
    this.#intact = true;
  }

  /**
   * How much further on a frame should lie, so that no slot's bytes cross a page of the arena: such a slot is two copies
   * for Xen (1.9 a segment without, 1.0 with). A long frame gets its second slot's offset in the page; the others mostly
   * begin at a page.
   */
  #padding(slot: number, place: number, length: number): number {
    const flags = this.#slots[slot * TX_SLOT_WORDS + 1] >>> 16;
    if ((flags & TX_FLAG_MORE_DATA) === 0) {
      const inPage = place & (PAGE_SIZE - 1);
      return inPage + length > PAGE_SIZE ? PAGE_SIZE - inPage : 0;
    }
    const { roles, slots } = this.#parsed;
    let next = slot + 1;
    while (next < slots && roles[next] === NONE) next++;
    const second = next < slots ? this.#slots[next * TX_SLOT_WORDS + 1] & 0xfffe : 0;
    return (second - length - place) & (PAGE_SIZE - 2);
  }

  /** Brings the bytes, then judges each frame. @returns the reason to stop, when a grant was not the guest's to give. */
  #fetch(): string | undefined {
    if (this.#payload === 'copy') this.grants.copyFromGuest();
    else this.#map();
    const refused = this.grants.ops[OPS_FAILED] === 0 ? undefined : this.#refuseFailed();
    this.#offload();
    return refused;
  }

  /** Writes the frames' vnet headers. */
  #offload(): void {
    const parsed = this.#parsed;
    const { arena, block, count } = this.frames;
    const direct = this.#direct;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const size = block[at + FRAME_LENGTH];
      if (size === 0) continue;
      const readable = direct ? this.#readable(i) : size;
      const gso = parsed.gso(i);
      if (describeFromGuest(arena, block[at + FRAME_OFFSET], size, readable, parsed.flags(i), gso)) continue;
      // The guest is told that it was sent, as Linux tells it: offloads that contradict the frame are its own loss.
      block[at + FRAME_LENGTH] = 0;
      this.#counters.dropped++;
      this.#intact = false;
    }
  }

  /** How much of a frame is in the arena, for a port that writes out of pages. */
  #readable(index: number): number {
    const at = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    if (this.frames.block[at + FRAME_OP_COUNT] === 0) return this.#parsed.size(index);
    return Math.min(this.#firstShare(index), HEADERS_BYTES);
  }

  /** Frames whose bytes could not be had are answered with an error. @returns a reason to stop, or undefined. */
  #refuseFailed(): string | undefined {
    const parsed = this.#parsed;
    const ops = this.grants.ops;
    let reason: string | undefined;
    let op = 0;
    for (let i = 0; i < parsed.count; i++) {
      if (parsed.refused(i)) continue;
      for (const end = op + this.#opsOf(i); op < end; op++) {
        const at = OPS_HEADER_WORDS + op * OP_WORDS;
        const status = ops[at + OP_STATUS] | 0;
        if (status === 0) continue;
        if (!parsed.refused(i)) parsed.refuse(i);
        this.frames.block[FRAMES_HEADER_WORDS + i * FRAME_WORDS + FRAME_LENGTH] = 0;
        if (isForeignFault(status)) reason = `bad grant reference ${ops[at + OP_REF]} (status ${status})`;
      }
    }
    return reason;
  }

  #map(): void {
    this.#describeHeads();
    this.grants.mapFromGuest();
  }

  /** Says how much of each slot is to be copied: all, or for a port that writes out of pages the headers. */
  #describeHeads(): void {
    const parsed = this.#parsed;
    const block = this.frames.block;
    const ops = this.grants.ops;
    const direct = !this.#ours();
    let op = 0;
    for (let i = 0; i < parsed.count; i++) {
      if (parsed.refused(i)) continue;
      const first = op;
      const headersOnly = direct && this.#headersInFirstSlot(i);
      for (const end = first + this.#opsOf(i); op < end; op++) {
        const at = OPS_HEADER_WORDS + op * OP_WORDS;
        ops[at + OP_HEAD] = headersOnly ? 0 : ops[at + OP_SPAN] >>> 16;
      }
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      block[at + FRAME_FIRST_OP] = first;
      block[at + FRAME_OP_COUNT] = headersOnly ? op - first : 0;
      if (headersOnly)
        ops[OPS_HEADER_WORDS + first * OP_WORDS + OP_HEAD] = Math.min(this.#firstShare(i), HEADERS_BYTES);
    }
  }

  /** Operations of a frame: its slots of data. */
  #opsOf(index: number): number {
    return this.#parsed.slotCount(index) - this.#parsed.extraCount(index);
  }

  /** Bytes of a frame that its first slot holds. */
  #firstShare(index: number): number {
    return this.#slots[this.#parsed.firstSlot(index) * TX_SLOT_WORDS + 2] >>> 16;
  }

  /** Headers are read from our copy, never from the guest's page: they must all be in the first operation. */
  #headersInFirstSlot(index: number): boolean {
    const share = this.#firstShare(index);
    return share === this.#parsed.size(index) || share >= HEADERS_BYTES / 2;
  }

  #send(): void {
    const { block, count } = this.frames;
    const written = this.#io?.write() ?? 0;
    const counters = this.#counters;
    counters.batches++;
    if (this.#intact && written === count && block[FRAMES_ERRNO] === 0) {
      counters.frames += count;
      counters.bytes += this.#bytes;
    } else {
      this.#count(written);
    }
  }

  /** Counts, frame by frame, what became of a batch of which the port dealt with the first `written`. */
  #count(written: number): void {
    const { block, count } = this.frames;
    const counters = this.#counters;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const length = block[at + FRAME_LENGTH];
      if (length === 0) continue;
      if (i >= written || block[at + FRAME_STATUS] !== 0) {
        counters.dropped++;
        continue;
      }
      counters.frames++;
      counters.bytes += length;
    }
  }
}
