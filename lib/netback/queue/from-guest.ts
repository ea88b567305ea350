import { NONE_PENDING } from '../../durable/redo.js';
import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import * as headers from '../../protocol/headers.js';
import * as netif from '../../protocol/netif.js';
import { parseTx, TxFrames } from '../../protocol/tx.js';
import type { Clock, GrantBatch, Grants, StagedGrants } from '../../xen/seam.js';
import * as xen from '../../xen/seam.js';
import { batchFault } from '../faults/data-path-faults.js';
import type { SendingFault } from '../faults/host-faults.js';
import * as batches from '../frames/batch-memory.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import { describeFromGuest } from '../frames/offload-from-guest.js';
import type { CreditTurn } from '../guest/credit-turns.js';
import type { MulticastFilter } from '../guest/multicast.js';
import type { BackRing } from '../ring/back-ring.js';
import * as backRing from '../ring/back-ring.js';
import type { LoopShare } from '../ring/loop-shares.js';
import type { PumpResult } from '../ring/turns.js';
import type { PayloadMode } from '../settings.js';
import { layOutFromGuest, layOutHeads, refuseFailed } from './from-guest-layout.js';
import * as plain from './from-guest-plain.js';
import { Sender } from './from-guest-sender.js';
import * as usual from './from-guest-usual.js';
import { WholeFrames } from './from-guest-whole.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_ERRNO, FRAMES_HEADER_WORDS, FRAME_WORDS } = batch;
const { FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_OP_COUNT } = batch;
const { BATCH_SLOTS } = batches;
const { RING_BROKEN } = backRing;
const { describePlain, layOutPlain, NOT_PLAIN, refusePlain } = plain;
const { layOutUsual, NOT_USUAL } = usual;
const { HEADERS_BYTES } = headers;
const { EXTRA_TYPE_MCAST_ADD, TX_SLOT_WORDS } = netif;
const { OPS_ERRNO, OPS_FAILED } = xen;

/** The most batches of one turn; then other vifs have their turn. */
const TURN_BATCHES = 8;

/**
 * Takes frames from the guest's TX ring and gives them to a port. vifd responds to the guest as soon as it has copied the frames' bytes,
 * before the port has them: the largest single gain that a prototype measured. Until the port has them, the ring's log records the frames as
 * pending.
 */
export class FromGuest {
  readonly frames: FrameBatch;
  readonly grants: GrantBatch;
  /** Copies frames with long headers; defined only if pages are mapped. */
  readonly #whole: WholeFrames | undefined;
  readonly #ring: BackRing;
  readonly #payload: PayloadMode;
  readonly #hooks: Hooks;
  readonly #multicast: MulticastFilter;
  readonly #credit: CreditTurn;
  readonly #clock: Clock;
  readonly #counters: FlowCounters;
  readonly #share: LoopShare | undefined;
  readonly #slots = new Uint32Array(BATCH_SLOTS * TX_SLOT_WORDS);
  /** For a plain batch: TX_FLAG_* by frame. */
  readonly #flags = new Uint32Array(BATCH_SLOTS);
  readonly #parsed: TxFrames;
  readonly #sender: Sender;
  /** Whether the port writes bytes straight out of mapped pages. */
  #direct = false;
  /**
   * Whether no frame of the present batch has bytes in the guest's pages any more, so that the guest may have its pages back. Decided before
   * the hooks run, because a filter or hook may add a hook.
   */
  #isCopied = false;
  /** Whether the guest's rate has cut the present batch, and the bytes to charge for it. */
  #exhausted = false;
  #charge = 0;
  /** The remaining work of the present batch, after the host failed to unmap its pages. */
  #afterUnmap: (() => void) | undefined;

  constructor(parts: {
    ring: BackRing;
    frames: FrameBatch;
    grants: Grants;
    domid: number;
    /** Grants that stay mapped, and need no hypercall. */
    staged?: StagedGrants | undefined;
    payload: PayloadMode;
    hooks: Hooks;
    multicast: MulticastFilter;
    credit: CreditTurn;
    clock: Clock;
    counters: FlowCounters;
    /** Ends a turn when the guest's slice is used up; undefined: only the number of batches ends it. */
    share?: LoopShare | undefined;
    /** Present while the port fails to send frames, which are then dropped and counted. */
    fault?: SendingFault | undefined;
  }) {
    this.frames = parts.frames;
    this.#sender = new Sender(parts);
    const { arena } = parts.frames;
    const { domid, staged } = parts;
    this.grants = parts.grants.batch({ domid, capacity: BATCH_SLOTS, arena, staged });
    if (parts.payload === 'map') this.#whole = new WholeFrames(parts.grants, { domid, arena, staged });
    this.#ring = parts.ring;
    this.#parsed = new TxFrames(BATCH_SLOTS, parts.ring.responses);
    this.#payload = parts.payload;
    this.#hooks = parts.hooks;
    this.#multicast = parts.multicast;
    this.#credit = parts.credit;
    this.#clock = parts.clock;
    this.#counters = parts.counters;
    this.#share = parts.share;
  }

  /** The batches that the owner disposes of when the pump has ended. */
  get batches(): GrantBatch[] {
    return this.#whole === undefined ? [this.grants] : [this.grants, this.#whole.batch];
  }

  start(io: PortIo, writesMapped: boolean): void {
    this.#sender.start(io);
    this.#direct = this.#payload === 'map' && writesMapped;
    this.#finish();
  }

  /** Sends the frames that the previous process had responded to and perhaps not written. Hooks have seen these frames. */
  #finish(): void {
    if (this.#ring.firstPending !== NONE_PENDING) {
      this.#sender.sendPending();
      this.#ring.clearPending();
    }
    this.frames.block[FRAMES_ERRNO] = 0;
    // The previous process may have mapped pages; this one may copy.
    this.frames.block.fill(0, FRAMES_HEADER_WORDS);
  }

  /** Runs a turn: moves the frames that wait, a bounded amount. @param notify called if the guest asked for an event for the responses. */
  pump(notify: () => void): PumpResult {
    if (this.#afterUnmap !== undefined && !this.#unmap(this.#afterUnmap)) return this.#unmapFault();
    this.#credit.look();
    // Rounds that move nothing count too, so that a guest that keeps changing its index cannot prolong the turn.
    for (let round = 0; round < TURN_BATCHES; round++) {
      if (round > 0 && this.#share?.over) return 'more';
      const waiting = this.#ring.waiting();
      if (waiting === RING_BROKEN) return { stop: 'from-guest ring: req_prod is beyond the ring' };
      if (waiting === 0) {
        if (!this.#ring.arm()) return 'idle';
        continue;
      }
      const ended = this.#batch(Math.min(waiting, BATCH_SLOTS), waiting <= BATCH_SLOTS, notify);
      if (ended !== undefined) return ended;
      if (this.#exhausted) return { waitMs: this.#credit.refuse(this.#clock.now()) };
      // `arm` reads `req_prod` again, so another `waiting` would cost a load for nothing.
      if (this.#ring.isEmpty && !this.#ring.arm()) return 'idle';
    }
    return 'more';
  }

  /** @returns how the turn ends; undefined if it continues. */
  #batch(slots: number, whole: boolean, notify: () => void): PumpResult | undefined {
    this.#charge = 0;
    this.#exhausted = false;
    this.#sender.isIntact = true;
    // Mapped pages and a rate need steps between parsing and layout, so with one of these all batches go the general way.
    if (this.#payload === 'copy' && !this.#credit.limited) {
      if (this.#layOutPlain(slots)) return this.#passPlain(slots, notify);
      if (this.#layOutUsual(slots, whole)) return this.#pass(notify);
    }
    return this.#passAny(slots, whole, notify);
  }

  /** Lays out the batch if it is plain (`layOutPlain`). @returns whether it is. */
  #layOutPlain(slots: number): boolean {
    const { responses } = this.#parsed;
    this.#sender.bytes = layOutPlain(
      this.#ring,
      slots,
      this.#flags,
      responses,
      this.frames.block,
      this.grants.ops,
    );
    return this.#sender.bytes !== NOT_PLAIN;
  }

  /** Lays out the batch if it is usual (`layOutUsual`). @returns whether it is. */
  #layOutUsual(slots: number, whole: boolean): boolean {
    const { ops } = this.grants;
    this.#sender.bytes = layOutUsual(this.#ring, slots, whole, this.#parsed, this.frames.block, ops);
    return this.#sender.bytes !== NOT_USUAL;
  }

  /** Fetches and passes on a plain batch: `#passAny` without the steps that such a batch does not need. */
  #passPlain(slots: number, notify: () => void): PumpResult | undefined {
    const { ops } = this.grants;
    this.grants.copyFromGuest();
    if (ops[OPS_ERRNO] !== 0) return this.#fetchFault();
    this.#ring.take(slots);
    const failed = ops[OPS_FAILED];
    let reason: string | undefined;
    if (failed > 0) {
      reason = refusePlain(slots, this.#parsed.responses, this.frames.block, ops);
      this.#counters.errors += failed;
      this.#sender.isIntact = false;
    }
    const dropped = describePlain(this.#flags, this.frames);
    if (dropped > 0) this.#drop(dropped);
    if (this.#hooks.active && !this.#hooks.run(this.frames, 'from-guest', this.#counters))
      this.#sender.isIntact = false;
    this.#respondThenSend(slots, notify);
    return stopFor(reason);
  }

  /** The general way: fetches and passes on a batch of any kind. */
  #passAny(slots: number, whole: boolean, notify: () => void): PumpResult | undefined {
    const parsed = this.#parsed;
    this.#ring.copy(slots, this.#slots);
    parseTx(this.#slots, slots, whole, parsed);
    this.#exhausted = this.#credit.limited && this.#exceeds();
    if (parsed.slots === 0) return stopFor(parsed.fault);
    this.#sender.bytes = layOutFromGuest(parsed, this.#slots, this.frames.block, this.grants.ops);
    return this.#pass(notify);
  }

  /** Fetches and passes on a batch that is parsed and laid out. */
  #pass(notify: () => void): PumpResult | undefined {
    this.#fetch();
    return this.grants.ops[OPS_ERRNO] === 0 ? this.#judge(notify) : this.#fetchFault();
  }

  /** Checks each frame whose bytes were fetched, and passes on those that can be sent. */
  #judge(notify: () => void): PumpResult | undefined {
    const parsed = this.#parsed;
    const sender = this.#sender;
    const { ops } = this.grants;
    const refused = ops[OPS_FAILED] === 0 ? undefined : refuseFailed(parsed, this.frames.block, ops);
    this.#offload();
    if (ops[OPS_ERRNO] !== 0) return this.#fetchFault();
    this.#ring.take(parsed.slots);
    if (this.#charge > 0) this.#credit.spend(this.#charge);
    if (parsed.commands > 0) this.#command();
    // A command has no bytes and is not sent, so `Sender` must count the frames one by one.
    if (parsed.commands > 0 || parsed.refusals > 0) sender.isIntact = false;
    if (this.#hooks.active && !this.#hooks.run(this.frames, 'from-guest', this.#counters, parsed))
      sender.isIntact = false;
    if (parsed.refusals > 0) this.#counters.errors += parsed.refusals;
    // A filter has detached the guest, which has no response yet: the next backend takes the batch again.
    if (!this.#isCopied && this.frames.arena.bytes.length === 0) return 'idle';
    const done = this.#isCopied ? this.#respondAndSend(notify) : this.#sendAndRespond(notify);
    if (!done) return this.#unmapFault();
    return stopFor(refused ?? parsed.fault);
  }

  /** Returns the host's fault. No slot was taken yet, so the next turn tries the same slots again. */
  #fetchFault(): PumpResult {
    return { fault: batchFault('Getting frames from the guest', this.grants.ops[OPS_ERRNO]) };
  }

  /** Counts frames of the batch that are not sent. */
  #drop(frames: number): void {
    this.#counters.drop('offload', frames);
    this.#sender.isIntact = false;
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
    this.#charge = bytes;
    const exceeds = frames < parsed.count;
    parsed.truncate(frames);
    return exceeds;
  }

  /**
   * Responds to the guest, then sends the frames.
   * @returns false if the host failed to unmap the pages; the rest then follows a later unmap.
   */
  #respondAndSend(notify: () => void): boolean {
    if (this.#payload !== 'copy') return this.#unmapFirst(notify);
    this.#respondThenSend(this.#parsed.slots, notify);
    return true;
  }

  /** The guest may end a grant as soon as it has the response, so the grant must be unmapped by then. @returns as `#respondAndSend`. */
  #unmapFirst(notify: () => void): boolean {
    return this.#unmap(() => this.#respondThenSend(this.#parsed.slots, notify));
  }

  #respondThenSend(slots: number, notify: () => void): void {
    if (this.#ring.publish(this.#parsed.responses, slots, 0)) notify();
    this.#sender.send();
    this.#ring.clearPending();
  }

  /** Sends the frames, then responds to the guest. @returns as `#respondAndSend`. */
  #sendAndRespond(notify: () => void): boolean {
    this.#sender.send();
    return this.#unmap(() => {
      if (this.#ring.publish(this.#parsed.responses, this.#parsed.slots)) notify();
    });
  }

  /** Unmaps the batch's pages and then runs `rest`; if the unmap fails, a later turn does. @returns whether the unmap succeeded. */
  #unmap(rest: () => void): boolean {
    this.grants.unmap();
    this.#afterUnmap = this.grants.ops[OPS_ERRNO] === 0 ? undefined : rest;
    if (this.#afterUnmap === undefined) rest();
    return this.#afterUnmap === undefined;
  }

  #unmapFault(): PumpResult {
    return { fault: batchFault("Unmapping the guest's pages", this.grants.ops[OPS_ERRNO]) };
  }

  /**
   * Changes the multicast list as the guest asks. After a kill before the response, the next process repeats the change, which has no
   * further effect.
   */
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

  /** Copies or maps the frames' bytes, as the operations describe. */
  #fetch(): void {
    this.#isCopied = !this.#direct || this.#hooks.needsWholeFrames;
    if (this.#payload === 'copy') this.grants.copyFromGuest();
    else {
      layOutHeads(this.#parsed, this.frames.block, this.grants.ops, !this.#isCopied);
      this.grants.mapFromGuest();
    }
  }

  /** Writes the frames' vnet headers. */
  #offload(): void {
    const { block, count } = this.frames;
    let dropped = 0;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      if (block[at + FRAME_LENGTH] === 0) continue;
      if (block[at + FRAME_OP_COUNT] === 0) {
        if (this.#describeFrame(i, block[at + FRAME_LENGTH])) continue;
      } else {
        if (this.#describeFrame(i, HEADERS_BYTES)) continue;
        // The frame's headers contradict its offload, or are longer than the bytes that were copied.
        const errno = this.#copyWhole(i);
        if (errno !== 0) {
          this.grants.ops[OPS_ERRNO] = errno;
          return;
        }
        if (this.#parsed.refused(i) || this.#describeFrame(i, block[at + FRAME_LENGTH])) continue;
      }
      // The response is okay, as from Linux's netback, although the frame is dropped: its offload contradicts its headers.
      block[at + FRAME_LENGTH] = 0;
      dropped++;
    }
    if (dropped > 0) this.#drop(dropped);
  }

  #describeFrame(index: number, readable: number): boolean {
    const parsed = this.#parsed;
    const { arena, block } = this.frames;
    const offset = block[FRAMES_HEADER_WORDS + index * FRAME_WORDS + FRAME_OFFSET];
    const flags = parsed.flags(index);
    return describeFromGuest(arena, offset, parsed.size(index), readable, flags, parsed.gso(index));
  }

  /** Copies a whole frame, which the port then does not write out of the guest's pages. @returns an errno of the host, or 0. */
  #copyWhole(index: number): number {
    const { block } = this.frames;
    const at = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    const whole = this.#whole as WholeFrames;
    whole.copy(this.grants.ops, block[at + FRAME_FIRST_OP], block[at + FRAME_OP_COUNT]);
    const { ops } = whole.batch;
    if (ops[OPS_ERRNO] !== 0) return ops[OPS_ERRNO];
    block[at + FRAME_OP_COUNT] = 0;
    if (ops[OPS_FAILED] === 0) return 0;
    this.#parsed.refuse(index);
    block[at + FRAME_LENGTH] = 0;
    return 0;
  }
}

function stopFor(fault: string | undefined): PumpResult | undefined {
  return fault === undefined ? undefined : { stop: `from-guest ring: ${fault}` };
}
