import { NONE_KEPT } from '../../durable/redo.js';
import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import * as headers from '../../protocol/headers.js';
import * as netif from '../../protocol/netif.js';
import { parseTx, TxFrames } from '../../protocol/tx.js';
import type { Clock, GrantBatch, Grants, StagedGrants } from '../../xen/seam.js';
import * as xen from '../../xen/seam.js';
import { batchFault, isFull, portFault } from '../faults/data-path-faults.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import { BATCH_SLOTS } from '../frames/batch-memory.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import { describeFromGuest } from '../frames/offload-from-guest.js';
import type { CreditTurn } from '../guest/credit-turns.js';
import type { MulticastFilter } from '../guest/multicast.js';
import { type BackRing, RING_BROKEN } from '../ring/back-ring.js';
import type { LoopShare } from '../ring/loop-shares.js';
import type { PumpResult } from '../ring/turns.js';
import type { PayloadMode } from '../settings.js';
import { layOutFromGuest, layOutHeads, refuseFailed } from './from-guest-layout.js';
import { describePlain, layOutPlain, NOT_PLAIN } from './from-guest-plain.js';
import { WholeFrames } from './from-guest-whole.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_ERRNO, FRAMES_HEADER_WORDS, FRAME_WORDS } = batch;
const { FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_OP_COUNT, FRAME_STATUS } = batch;
const { HEADERS_BYTES } = headers;
const { EXTRA_TYPE_MCAST_ADD, TX_SLOT_WORDS } = netif;
const { OPS_ERRNO, OPS_FAILED } = xen;

/** Batches of one turn: then other vifs have their turn. */
const TURN_BATCHES = 8;

/**
 * Takes frames from the guest's TX ring and gives them to a port. The guest is answered as soon as their bytes are ours,
 * before the port has them: the largest single gain that a prototype measured. The ring keeps them in its log until then.
 */
export class FromGuest {
  readonly frames: FrameBatch;
  readonly grants: GrantBatch;
  /** Copies frames with long headers; only where pages are mapped. */
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
  readonly #parsed = new TxFrames(BATCH_SLOTS);
  #io: PortIo | undefined;
  /** The port takes bytes straight from mapped pages. */
  #direct = false;
  /** Of the batch at hand: bytes of all its frames, and whether all are to be sent as the guest gave them. */
  #bytes = 0;
  #intact = false;
  /** The batch at hand was cut by the guest's rate; its bytes, to be charged. */
  #exhausted = false;
  #charge = 0;
  /** The batch at hand is done but for this: the host could not unmap its pages. */
  #unanswered: (() => void) | undefined;
  readonly #onPortFault: HostFaultListener;
  /** The port failed a frame of the last batch, for no fault of the frame. */
  #portFaulty = false;

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
    /** Ends a turn when the guest's slice is used up; undefined: only the number of batches does. */
    share?: LoopShare | undefined;
    /** The port fails to send frames, which are dropped and counted; undefined: it sends again. */
    onPortFault?: HostFaultListener | undefined;
  }) {
    this.#onPortFault = parts.onPortFault ?? (() => {});
    this.frames = parts.frames;
    const { arena } = parts.frames;
    const { domid, staged } = parts;
    this.grants = parts.grants.batch({ domid, capacity: BATCH_SLOTS, arena, staged });
    if (parts.payload === 'map') this.#whole = new WholeFrames(parts.grants, { domid, arena, staged });
    this.#ring = parts.ring;
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
    this.frames.block[FRAMES_ERRNO] = 0;
    // An earlier life may have mapped pages where this one copies.
    this.frames.block.fill(0, FRAMES_HEADER_WORDS);
  }

  /** Moves what waits, a bounded amount. `notify` runs when the guest asked to hear of our responses. */
  pump(notify: () => void): PumpResult {
    if (this.#unanswered !== undefined && !this.#unmap(this.#unanswered)) return this.#unmapFault();
    this.#credit.look();
    // Rounds that move nothing count too: a guest that flickers its index must not hold us here.
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
    }
    return 'more';
  }

  /** @returns how the turn ends; undefined: it goes on. */
  #batch(slots: number, whole: boolean, notify: () => void): PumpResult | undefined {
    this.#ring.copy(slots, this.#slots);
    this.#charge = 0;
    this.#exhausted = false;
    this.#intact = true;
    if (this.#layOutPlain(slots)) return this.#passPlain(slots, whole, notify);
    return this.#passAny(slots, whole, notify);
  }

  /**
   * Lays out the batch if it is plain (`layOutPlain`). With mapped pages, a rate or hooks it does not: these need each frame's parts, which
   * `parseTx` finds.
   * @returns whether it did.
   */
  #layOutPlain(slots: number): boolean {
    if (this.#payload !== 'copy' || this.#credit.limited || this.#hooks.active) return false;
    const { responses } = this.#parsed;
    this.#bytes = layOutPlain(this.#slots, slots, responses, this.frames.block, this.grants.ops);
    return this.#bytes !== NOT_PLAIN;
  }

  /** Fetches and passes on a plain batch: `#passAny` without the steps that such a batch does not need. */
  #passPlain(slots: number, whole: boolean, notify: () => void): PumpResult | undefined {
    const { ops } = this.grants;
    this.grants.copyFromGuest();
    if (ops[OPS_ERRNO] !== 0) return this.#fetchFault();
    if (ops[OPS_FAILED] !== 0) {
      // To refuse the frames whose operations failed, the general way needs their parts.
      parseTx(this.#slots, slots, whole, this.#parsed);
      return this.#judge(notify);
    }
    this.#ring.take(slots);
    const dropped = describePlain(this.#slots, this.frames);
    if (dropped > 0) this.#drop(dropped);
    this.#answerThenSend(slots, notify);
    return undefined;
  }

  /** The general way: fetches and passes on a batch of any kind. */
  #passAny(slots: number, whole: boolean, notify: () => void): PumpResult | undefined {
    const parsed = this.#parsed;
    parseTx(this.#slots, slots, whole, parsed);
    this.#exhausted = this.#credit.limited && this.#exceeds();
    if (parsed.slots === 0) return stopFor(parsed.fault);
    this.#bytes = layOutFromGuest(parsed, this.#slots, this.frames.block, this.grants.ops);
    this.#fetch();
    return this.grants.ops[OPS_ERRNO] === 0 ? this.#judge(notify) : this.#fetchFault();
  }

  /** Judges each of the frames whose bytes were fetched, and passes on those that can be sent. */
  #judge(notify: () => void): PumpResult | undefined {
    const parsed = this.#parsed;
    const { ops } = this.grants;
    const refused = ops[OPS_FAILED] === 0 ? undefined : refuseFailed(parsed, this.frames.block, ops);
    this.#offload();
    if (ops[OPS_ERRNO] !== 0) return this.#fetchFault();
    this.#ring.take(parsed.slots);
    if (this.#charge > 0) this.#credit.spend(this.#charge);
    if (parsed.commands > 0) this.#command();
    this.#intact &&= parsed.refusals === 0 && !this.#hooks.active;
    if (this.#hooks.active) this.#hooks.run(this.frames, 'from-guest', this.#counters, parsed);
    if (parsed.refusals > 0) this.#counters.errors += parsed.refusals;
    const done = this.#ours() ? this.#answerAndSend(notify) : this.#sendAndAnswer(notify);
    if (!done) return this.#unmapFault();
    return stopFor(refused ?? parsed.fault);
  }

  /** Nothing was taken yet: the same slots are looked at again. */
  #fetchFault(): PumpResult {
    return { fault: batchFault('Getting frames from the guest', this.grants.ops[OPS_ERRNO]) };
  }

  /** Counts frames of the batch that are not sent. */
  #drop(frames: number): void {
    this.#counters.drop('offload', frames);
    this.#intact = false;
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

  /** No frame's bytes are the guest's pages any more: it may have these back. */
  #ours(): boolean {
    return !this.#direct || this.#hooks.active;
  }

  /** @returns false when the host could not unmap the pages: the rest is done when it can. */
  #answerAndSend(notify: () => void): boolean {
    const { slots } = this.#parsed;
    if (this.#payload === 'copy') this.#answerThenSend(slots, notify);
    // A guest may end a grant as soon as it is answered, and must not find it in use.
    else return this.#unmap(() => this.#answerThenSend(slots, notify));
    return true;
  }

  #answerThenSend(slots: number, notify: () => void): void {
    if (this.#ring.publish(this.#parsed.responses, slots, 0)) notify();
    this.#send();
    this.#ring.keepNoneAfterWrite();
  }

  /** As `#answerAndSend`. */
  #sendAndAnswer(notify: () => void): boolean {
    this.#send();
    return this.#unmap(() => {
      if (this.#ring.publish(this.#parsed.responses, this.#parsed.slots)) notify();
    });
  }

  /** Unmaps the batch's pages, and then does `rest`, now or when it works. @returns whether it worked. */
  #unmap(rest: () => void): boolean {
    this.grants.unmap();
    this.#unanswered = this.grants.ops[OPS_ERRNO] === 0 ? undefined : rest;
    if (this.#unanswered === undefined) rest();
    return this.#unanswered === undefined;
  }

  #unmapFault(): PumpResult {
    return { fault: batchFault("Unmapping the guest's pages", this.grants.ops[OPS_ERRNO]) };
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

  /** Brings the frames' bytes, as the operations say. */
  #fetch(): void {
    if (this.#payload === 'copy') this.grants.copyFromGuest();
    else {
      layOutHeads(this.#parsed, this.frames.block, this.grants.ops, !this.#ours());
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
        // Its headers contradict its offloads, or are longer than what was copied.
        const errno = this.#copyWhole(i);
        if (errno !== 0) {
          this.grants.ops[OPS_ERRNO] = errno;
          return;
        }
        if (this.#parsed.refused(i) || this.#describeFrame(i, block[at + FRAME_LENGTH])) continue;
      }
      // The guest is told that it was sent, as Linux tells it: offloads that contradict the frame are its own loss.
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

  /** Copies a whole frame that the port was to write out of the guest's pages. @returns an errno of the host's, or 0. */
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

  #send(): void {
    const { block, count } = this.frames;
    const written = this.#io?.write() ?? 0;
    const errno = block[FRAMES_ERRNO];
    if (this.#intact && written === count && errno === 0) {
      this.#counters.countBatch(count, this.#bytes);
    } else {
      this.#counters.batches++;
      this.#count(written);
    }
    if (errno !== 0 || this.#portFaulty) this.#judgePort(errno, written);
  }

  /** What failed is dropped and counted; that it failed is reported, unless a frame can have that of itself. */
  #judgePort(errno: number, written: number): void {
    const fault = portFault('Sending frames of the guest', errno);
    if (fault === undefined && (!this.#portFaulty || errno !== 0 || written === 0)) return;
    this.#portFaulty = fault !== undefined;
    this.#onPortFault(fault);
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
        counters.drop(i < written && !isFull(block[at + FRAME_STATUS]) ? 'refused' : 'port');
        continue;
      }
      counters.frames++;
      counters.bytes += length;
    }
  }
}

function stopFor(fault: string | undefined): PumpResult | undefined {
  return fault === undefined ? undefined : { stop: `from-guest ring: ${fault}` };
}
