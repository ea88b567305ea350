import { VifdError } from '../../errors.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  type FrameBatch,
  frameAt,
} from '../../ports/frame-batch.js';
import { type FrameOffload, readOffload } from '../../ports/offload.js';
import { VNET_HEADER_BYTES } from '../../protocol/vnet.js';
import type { Clock } from '../../xen/seam.js';
import type { FlowCounters } from './counters.js';
import { Filters } from './filters.js';
import type { Direction, FlowHash, Frame, FrameFilter, FrameHook, HashedOver } from './frame.js';
import { moveOffload } from './moved-offload.js';
import { Redirect } from './redirect.js';
import { CheckedHook, frameLength, longFault } from './verdicts.js';

/** Bytes at the end of an arena that a batch leaves free for frames that hooks make longer. */
export const SPILL_BYTES = 2 * 65536;
/** Room for a vnet header before a frame, and the alignment that its words need. */
const SPILL_PHASE = 16;

/** The time of a batch from which hooks are reported as slow: half of the 200 ms at which TCP's retransmission timer starts. */
const SLOW_MS = 100;
/**
 * Of so many batches that only filters see, one is timed: two reads of the clock take 140 ns, which is 2 ns a frame in batches of 64. A filter
 * that is always slow is found all the same.
 */
const TIMED_BATCHES = 16;

/**
 * The filters and hooks of one vif, the filters first. They run between the guest's pages and the port, on bytes that the guest can no longer change:
 * vifd sends exactly the bytes that a hook has passed.
 */
export class Hooks {
  #chain: readonly CheckedHook<FrameHook>[] = [];
  readonly #filters: Filters;
  readonly #clock: Clock;
  readonly #onError: (error: VifdError) => void;
  /** Whether the last batch took too long, which is reported once. */
  #slow = false;
  /** Batches until the next one that is timed though only filters see it. */
  #untimed = 0;

  /** @param onError gets ERR_HOOK, once for each hook or filter and kind of fault. */
  constructor(clock: Clock, onError: (error: VifdError) => void) {
    this.#clock = clock;
    this.#onError = onError;
    this.#filters = new Filters(clock, onError);
  }

  /** Whether `run` has anything to do. */
  get active(): boolean {
    return this.#chain.length > 0 || this.#filters.active;
  }

  /**
   * Whether `run` needs all bytes of each frame in the arena, because hooks see them. Filters need only the first HEADERS_BYTES, which are
   * there in both payload modes.
   */
  get needsWholeFrames(): boolean {
    return this.#chain.length > 0;
  }

  /** Adds a filter, which runs before all hooks. @param name of the program's own function, if `filter` is a wrapper. */
  addFilter(filter: FrameFilter, name = filter.name): Disposable {
    return this.#filters.add(filter, name);
  }

  /** @param name of the program's own function, if `hook` is a wrapper. */
  add(hook: FrameHook, name = hook.name): Disposable {
    const [clock, onError] = [this.#clock, this.#onError];
    const added = new CheckedHook({ hook, kind: 'Hook', name, clock, onError });
    // A new list, because a hook may remove itself while `run` iterates over the list.
    this.#chain = [...this.#chain, added];
    return {
      [Symbol.dispose]: () => {
        this.#chain = this.#chain.filter((one) => one !== added);
      },
    };
  }

  /**
   * Shows every frame of the batch to every filter, and then to every hook; a dropped frame gets length 0.
   * @param hashes that the guest sent with its frames, for `Frame.hash`; none for a batch without extra info.
   * @returns whether all frames passed with the length that they had.
   */
  run(frames: FrameBatch, direction: Direction, counters: FlowCounters, hashes?: Hashes): boolean {
    // A hook that a filter adds begins with the next batch: this one's frames may not be whole (`needsWholeFrames`).
    const hasHooks = this.#chain.length > 0;
    if (!hasHooks && this.#untimed-- > 0) return this.#filters.run(frames, direction, counters);
    this.#untimed = TIMED_BATCHES - 1;
    const beganMs = this.#clock.now();
    const passed = !this.#filters.active || this.#filters.run(frames, direction, counters);
    const intact = !hasHooks || this.#runEach(frames, direction, counters, hashes);
    this.#judgeTime(this.#clock.now() - beganMs, frames.count);
    return passed && intact;
  }

  /** Reports hooks that take too long. They run inline, so this process serves no guest meanwhile. */
  #judgeTime(tookMs: number, frames: number): void {
    const slow = tookMs >= SLOW_MS;
    if (slow && !this.#slow) {
      const message =
        `Hooks took ${Math.round(tookMs)} ms for ${frames} ${frames === 1 ? 'frame' : 'frames'}, while all guests of this ` +
        'process waited: let hooks return at once, and do what takes long elsewhere, on a copy of the frame.';
      this.#onError(new VifdError('ERR_HOOK', message));
    }
    this.#slow = slow;
  }

  /** @returns as `run`. */
  #runEach(frames: FrameBatch, direction: Direction, counters: FlowCounters, hashes?: Hashes): boolean {
    const block = frames.block;
    const spill = new Spill(frames);
    let intact = true;
    for (let i = 0; i < frames.count; i++) {
      const at = frameAt(i);
      const length = block[at + FRAME_LENGTH];
      if (length === 0) continue;
      const fate = this.#show(new BorrowedFrame(frames, i, hashes), frames, at, direction, spill);
      if (fate === 'pass') {
        if (block[at + FRAME_LENGTH] !== length) intact = false;
        continue;
      }
      block[at + FRAME_LENGTH] = 0;
      intact = false;
      if (fate === 'drop') counters.filtered++;
      else if (fate === 'untaken') counters.drop('port');
      else counters.hookErrors++;
    }
    return intact;
  }

  #show(frame: BorrowedFrame, frames: FrameBatch, at: number, direction: Direction, spill: Spill): Fate {
    for (const checked of this.#chain) {
      const { hook } = checked;
      let verdict: unknown;
      let isTaken = false;
      try {
        verdict = hook(frame, direction);
        if (Redirect.is(verdict)) isTaken = verdict.send(frame.bytes, frame.offload);
      } catch (error) {
        checked.threw(error);
        return 'error';
      }
      checked.worked();
      if (verdict === 'pass') continue;
      if (verdict === 'drop') return 'drop';
      if (Redirect.is(verdict)) return isTaken ? 'drop' : 'untaken';
      const length = frameLength(verdict);
      if (typeof length !== 'number') {
        checked.refuse(verdict, length);
        return 'error';
      }
      if (!replace(frames, at, verdict as Uint8Array, length, spill)) {
        checked.refuse(verdict, longFault(length));
        return 'error';
      }
    }
    return 'pass';
  }
}

/**
 * The joint verdict of the hooks on a frame. `untaken`: one of them redirected it, and the receiver did not take it; `error`: one of them
 * returned no verdict.
 */
type Fate = 'pass' | 'drop' | 'untaken' | 'error';

/** Replaces a frame's bytes, in place or, if they are longer, in the spill area. @returns false if that area is full. */
function replace(frames: FrameBatch, at: number, bytes: Uint8Array, length: number, spill: Spill): boolean {
  const { block, arena } = frames;
  if (length > FRAME_BYTES_MAX) return false;
  const to = length > block[at + FRAME_LENGTH] ? spill.take(length) : block[at + FRAME_OFFSET];
  if (to < 0) return false;
  moveOffload(arena, block[at + FRAME_OFFSET], block[at + FRAME_LENGTH], bytes, length);
  if (length > block[at + FRAME_LENGTH]) {
    const from = block[at + FRAME_OFFSET];
    arena.bytes.copyWithin(to - VNET_HEADER_BYTES, from - VNET_HEADER_BYTES, from);
    block[at + FRAME_OFFSET] = to;
  }
  arena.bytes.set(bytes, block[at + FRAME_OFFSET]);
  block[at + FRAME_LENGTH] = length;
  return true;
}

/** The spill area: the arena's tail, for frames that a hook made longer. Each batch starts with an empty area. */
class Spill {
  readonly #end: number;
  #next: number;

  constructor(frames: FrameBatch) {
    this.#end = frames.arena.bytes.length;
    this.#next = this.#end - SPILL_BYTES;
  }

  take(bytes: number): number {
    const at = this.#next + SPILL_PHASE;
    if (at + bytes > this.#end) return -1;
    this.#next = (at + bytes + 63) & ~63;
    return at;
  }
}

/** The hashes that the guest sent with its frames, by frame. */
interface Hashes {
  /** HASH_TYPE_*, or 0. */
  readonly hashTypes: Uint8Array;
  readonly hashValues: Uint32Array;
}

class BorrowedFrame implements Frame {
  readonly #frames: FrameBatch;
  readonly #index: number;
  readonly #hashes: Hashes | undefined;

  constructor(frames: FrameBatch, index: number, hashes: Hashes | undefined) {
    this.#frames = frames;
    this.#index = index;
    this.#hashes = hashes;
  }

  get bytes(): Uint8Array {
    const { arena } = this.#frames;
    const offset = this.#word(FRAME_OFFSET);
    return arena.bytes.subarray(offset, offset + this.#word(FRAME_LENGTH));
  }

  get offload(): FrameOffload {
    return readOffload(this.#frames.arena.bytes, this.#word(FRAME_OFFSET) - VNET_HEADER_BYTES);
  }

  get hash(): FlowHash | undefined {
    const type = this.#hashes?.hashTypes[this.#index] ?? 0;
    const value = this.#hashes?.hashValues[this.#index] ?? 0;
    return type === 0 ? undefined : { over: HASHED_OVER[31 - Math.clz32(type)] as HashedOver, value };
  }

  copy(): Frame {
    return keptFrame(this.bytes.slice(), this.offload, this.hash);
  }

  #word(field: number): number {
    return this.#frames.block[frameAt(this.#index) + field];
  }
}

/** The hashed fields, by the number of the bit in HASH_TYPE_*. */
const HASHED_OVER: readonly HashedOver[] = ['ipv4', 'ipv4-tcp', 'ipv6', 'ipv6-tcp'];

function keptFrame(bytes: Uint8Array, offload: FrameOffload, hash: FlowHash | undefined): Frame {
  return { bytes, offload, hash, copy: () => keptFrame(bytes.slice(), offload, hash) };
}
