import * as redo from '../../durable/redo.js';
import type { VifdError } from '../../errors.js';
import * as batch from '../../ports/frame-batch.js';
import * as netif from '../../protocol/netif.js';
import * as rx from '../../protocol/rx.js';
import type { GrantBatch } from '../../xen/seam.js';
import * as xen from '../../xen/seam.js';
import { batchFault, isForeignFault } from '../faults/data-path-faults.js';
import { BATCH_SLOTS } from '../frames/batch-memory.js';
import type { GuestCapabilities } from '../frames/conform.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Deliverable } from '../frames/deliverable.js';
import * as deliverable from '../frames/deliverable.js';
import * as offload from '../frames/offload-to-guest.js';
import type { BackRing } from '../ring/back-ring.js';
import type { PayloadMode } from '../settings.js';
import { CutFrames } from './cut-frames.js';
import type { PendingFrames } from './pending-frames.js';
import * as plain from './to-guest-plain.js';
import * as usual from './to-guest-usual.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_HEADER_WORDS, FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;
const { GSO_UNNAMED } = offload;
const { NONE_PENDING } = redo;
const { CUT } = deliverable;
const { badBuffer, layOutPlain, NOT_PLAIN, refusePlain } = plain;
const { layOutUsual } = usual;
const { RSP_ERROR, RX_SLOT_WORDS } = netif;
const { refuseRx, respondRx, rxPagesNeeded, rxSlotAfter, rxSlotsNeeded } = rx;
const { OP_ARENA, OP_HEAD, OP_REF, OP_SPAN, OP_STATUS, OP_WORDS, PAGE_SIZE } = xen;
const { OPS_COUNT, OPS_ERRNO, OPS_FAILED, OPS_HEADER_WORDS } = xen;

/**
 * undefined: the guest has the frames. stop: the guest has the frames, and broke the protocol. fault: the host failed a call; the guest has
 * none.
 */
export type Delivered = { readonly stop: string } | { readonly fault: VifdError } | undefined;

/** Puts pending frames into the buffers of the guest's RX ring: one call for the payload, then the responses. */
export class Delivery {
  readonly #pending: PendingFrames;
  readonly #cuts: CutFrames;
  readonly #ring: BackRing;
  readonly #grants: GrantBatch;
  readonly #payload: PayloadMode;
  readonly #capabilities: GuestCapabilities;
  readonly #counters: FlowCounters;
  readonly #requests = new Uint32Array(BATCH_SLOTS * RX_SLOT_WORDS);
  readonly #responses: Uint32Array;
  /** How many slots the frames took that the last `deliver` gave to the guest. */
  slotsTaken = 0;
  /** How many slots the frames of the last `#fit` take. */
  #used = 0;
  /** How many frames the last `#fit` found room for, less those that were refused, and their bytes. */
  #fitted = 0;
  #fittedBytes = 0;

  constructor(parts: {
    pending: PendingFrames;
    ring: BackRing;
    grants: GrantBatch;
    payload: PayloadMode;
    capabilities: GuestCapabilities;
    counters: FlowCounters;
  }) {
    this.#pending = parts.pending;
    this.#cuts = new CutFrames(parts.pending.frames.arena, parts.capabilities);
    this.#ring = parts.ring;
    this.#responses = parts.ring.responses;
    this.#grants = parts.grants;
    this.#payload = parts.payload;
    this.#capabilities = parts.capabilities;
    this.#counters = parts.counters;
  }

  /**
   * @returns how many slots the next pending frame takes, or its next segment; 0 for a frame that is not delivered. A frame that the guest
   * cannot take is dropped, and counted.
   */
  slotsOfNext(): number {
    const pending = this.#pending;
    const { next } = pending;
    return pending.isCut(next) ? this.#cuts.nextSlots(pending, next) : this.#slotsOf(pending, next);
  }

  /** Delivers the pending frames for which `slots` slots have room, up to the first that the guest gets as segments. */
  deliver(slots: number, notify: () => void): Delivered {
    const pending = this.#pending;
    const { next } = pending;
    this.slotsTaken = 0;
    if (pending.isCut(next) && !pending.isRemoved(next)) return this.#deliverSegments(slots, notify);
    const end = this.#fit(pending, next, slots);
    return this.#pass(pending, next, end, end, notify);
  }

  /**
   * Lays out the frames of a read if they are plain (`layOutPlain`). Mapped pages and headroom need the general way, so with one of these it
   * does nothing.
   * @param slots that the guest has left.
   * @returns whether it laid them out. Then record them, and call `deliverPlain` before all else.
   */
  layOutPlain(slots: number): boolean {
    const { frames } = this.#pending;
    const { xdpHeadroom, conform } = this.#capabilities;
    if (this.#payload !== 'copy' || xdpHeadroom !== 0 || frames.count > slots) return false;
    this.#fittedBytes = layOutPlain(this.#ring, frames, this.#grants.ops, conform.takesUsualChecksums);
    return this.#fittedBytes !== NOT_PLAIN;
  }

  /** Delivers the frames that `layOutPlain` laid out: `#run` without the steps that such frames do not need. */
  deliverPlain(notify: () => void): Delivered {
    const pending = this.#pending;
    const { ops } = this.#grants;
    const { count } = pending.frames;
    let bytes = this.#fittedBytes;
    this.slotsTaken = 0;
    this.#grants.copyToGuest();
    if (ops[OPS_ERRNO] !== 0) return this.#fault();
    this.#ring.take(count);
    const failed = ops[OPS_FAILED];
    let reason: string | undefined;
    if (failed > 0) {
      const refused = refusePlain(count, this.#responses, ops);
      bytes -= refused.bytes;
      reason = refused.reason;
      this.#counters.errors += failed;
    }
    this.#counters.countBatch(count - failed, bytes);
    if (this.#ring.publish(this.#responses, count)) notify();
    pending.next = count;
    this.slotsTaken = count;
    return stopFor(reason);
  }

  /** The host failed to put frames into the guest. They stay pending. */
  #fault(): Delivered {
    return { fault: batchFault('Putting frames into the guest', this.#grants.ops[OPS_ERRNO]) };
  }

  /**
   * Delivers those segments of the next pending frame for which `slots` slots have room. The frame is pending until the guest has them all.
   */
  #deliverSegments(slots: number, notify: () => void): Delivered {
    const pending = this.#pending;
    const cuts = this.#cuts;
    const index = pending.next;
    const begun = pending.segmentsDone(index);
    const made = cuts.fill(pending, index, slots);
    const end = this.#fit(cuts, 0, slots);
    if (made === 0) {
      // `Conform` marks only frames that can be cut, so the journal is damaged.
      this.#counters.drop('damaged');
      pending.remove(index);
    }
    const isWhole = made === 0 || begun + end === cuts.count;
    const ended = this.#pass(cuts, 0, end, isWhole ? index + 1 : index, notify);
    if (isTaken(ended) && !isWhole) pending.recordSegments(index, begun + end);
    return ended;
  }

  /** Delivers frames [first, end) of `batch`, for which `#fit` has found room. After that the pending frames begin at `next`. */
  #pass(batch: Deliverable, first: number, end: number, next: number, notify: () => void): Delivered {
    const pending = this.#pending;
    const firstPending = next < pending.frames.count ? next : NONE_PENDING;
    if (this.#used === 0) {
      // None of these frames is delivered.
      pending.next = next;
      if (firstPending === NONE_PENDING) this.#ring.clearPending();
      return undefined;
    }
    const ended = this.#run(batch, first, end, firstPending, notify);
    if (isTaken(ended)) {
      pending.next = next;
      this.slotsTaken = this.#used;
    }
    return ended;
  }

  /**
   * Finds for how many frames from `first` on `slots` slots suffice, up to a frame that is delivered as segments. One loop: it is hot.
   * @returns the first frame without room; `#used` is the number of slots of those before it.
   */
  #fit(batch: Deliverable, first: number, slots: number): number {
    const { gsos, hashTypes } = batch;
    const { block, count } = batch.frames;
    // Frames up to this length take one slot. With a headroom no frame does, since each has an extra.
    const plainBytes = this.#capabilities.xdpHeadroom === 0 ? PAGE_SIZE : 0;
    let used = 0;
    let frames = 0;
    let sum = 0;
    let end = first;
    for (; end < count; end++) {
      const at = FRAMES_HEADER_WORDS + end * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      if (block[at + FRAME_FIRST_OP] === CUT) break;
      const isPlain = bytes <= plainBytes && (gsos[end] | hashTypes[end]) === 0;
      const needed = isPlain ? 1 : this.#slotsOf(batch, end);
      if (used + needed > slots) break;
      if (needed === 0) continue;
      used += needed;
      sum += bytes;
      frames++;
    }
    this.#used = used;
    this.#fitted = frames;
    this.#fittedBytes = sum;
    return end;
  }

  /** @returns how many slots a frame takes; 0 for one that was removed, and for one that the guest cannot take, which is dropped. */
  #slotsOf(batch: Deliverable, index: number): number {
    const { gsos, hashTypes } = batch;
    const { block } = batch.frames;
    const at = FRAMES_HEADER_WORDS + index * FRAME_WORDS;
    const bytes = block[at + FRAME_LENGTH];
    if (bytes === 0) return 0;
    const { scatterGather, xdpHeadroom } = this.#capabilities;
    const gso = gsos[index];
    // A guest without scatter-gather takes one page a frame, extras aside; netif has no name for some GSO kinds.
    if (gso === GSO_UNNAMED || (!scatterGather && rxPagesNeeded(bytes, xdpHeadroom) > 1)) {
      batch.remove(index);
      this.#counters.drop('unsupported');
      return 0;
    }
    return rxSlotsNeeded(bytes, gso, xdpHeadroom, hashTypes[index]);
  }

  /**
   * Delivers frames [first, end) of `batch`, which take `#used` slots that the ring has.
   * @param firstPending index of the first pending frame after that, for the ring's log.
   */
  #run(batch: Deliverable, first: number, end: number, firstPending: number, notify: () => void): Delivered {
    const used = this.#used;
    if (!this.#layOutUsual(batch, first, end)) {
      this.#ring.copy(used, this.#requests);
      this.#describe(batch, first, end);
    }
    if (this.#payload === 'copy') this.#grants.copyToGuest();
    else this.#grants.mapToGuest();
    const { ops } = this.#grants;
    if (ops[OPS_ERRNO] !== 0) return this.#fault();
    this.#ring.take(used);
    const fault = ops[OPS_FAILED] === 0 ? undefined : this.#refuseFailed(batch, first, end);
    this.#counters.countBatch(this.#fitted, this.#fittedBytes);
    if (this.#ring.publish(this.#responses, used, firstPending)) notify();
    return stopFor(fault);
  }

  /** Lays out frames [first, end) of `batch` if they are usual (`layOutUsual`). @returns whether they are. */
  #layOutUsual(batch: Deliverable, first: number, end: number): boolean {
    if (this.#capabilities.xdpHeadroom !== 0) return false;
    return layOutUsual(this.#ring, batch, first, end, this.#requests, this.#grants.ops);
  }

  /** Writes an operation for each page of frames [first, end), and responses that are right if no operation fails. */
  #describe(batch: Deliverable, first: number, end: number): void {
    const { gsos, flags, hashTypes, hashValues } = batch;
    const { block } = batch.frames;
    const ops = this.#grants.ops;
    const requests = this.#requests;
    const headroom = this.#capabilities.xdpHeadroom;
    const room = PAGE_SIZE - headroom;
    let op = OPS_HEADER_WORDS;
    let next = 0;
    for (let i = first; i < end; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const offset = block[at + FRAME_OFFSET];
      const gso = gsos[i];
      const hashType = hashTypes[i];
      const value = hashValues[i];
      respondRx(requests, next, bytes, flags[i], gso, this.#responses, headroom, hashType, value);
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
    }
    ops[OPS_COUNT] = (op - OPS_HEADER_WORDS) / OP_WORDS;
  }

  /** Responds with an error for each of frames [first, end) that had a failed operation. @returns a reason to stop, or undefined. */
  #refuseFailed({ frames, gsos, hashTypes }: Deliverable, first: number, end: number): string | undefined {
    const { block } = frames;
    const headroom = this.#capabilities.xdpHeadroom;
    let reason: string | undefined;
    let slot = 0;
    let op = 0;
    for (let i = first; i < end; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const slots = rxSlotsNeeded(bytes, gsos[i], headroom, hashTypes[i]);
      const pages = rxPagesNeeded(bytes, headroom);
      const status = this.#worstStatus(op, pages);
      if (status !== 0) this.#refuse(slot, slots, pages, bytes);
      if (isForeignFault(status)) reason = badBuffer(status);
      op += pages;
      slot += slots;
    }
    return reason;
  }

  /**
   * Replaces the responses to a frame's slots by errors, and does not count the frame as delivered: counters never decrease.
   * @param slots of the frame; `pages`: how many of them hold data.
   */
  #refuse(first: number, slots: number, pages: number, bytes: number): void {
    for (let slot = first; slot < first + slots; slot++) {
      // Extra info, which has no identifier, lies right behind the first slot.
      const isExtra = slot > first && slot <= first + slots - pages;
      refuseRx(isExtra ? this.#requests : this.#responses, slot, RSP_ERROR, this.#responses);
    }
    this.#counters.errors++;
    this.#fitted--;
    this.#fittedBytes -= bytes;
  }

  /** @returns the first status among `count` operations that is not 0; 0 if none is. */
  #worstStatus(first: number, count: number): number {
    const ops = this.#grants.ops;
    for (let op = first; op < first + count; op++) {
      const status = ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS] | 0;
      if (status !== 0) return status;
    }
    return 0;
  }
}

function stopFor(reason: string | undefined): Delivered {
  return reason === undefined ? undefined : { stop: `to-guest ring: ${reason}` };
}

/** Whether the guest has the frames, because the ring has their responses. */
function isTaken(ended: Delivered): boolean {
  return ended === undefined || 'stop' in ended;
}
