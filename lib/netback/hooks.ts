import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  type FrameBatch,
  frameAt,
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_HEADER_BYTES,
} from '../ports/types.js';
import type { FlowCounters } from './counters.js';
import { vnetWord } from './offload.js';
import type { Direction, Frame, FrameHook, Offload } from './types.js';

/** Bytes at the end of an arena that the frames of a batch leave free for `Hooks`. */
export const SPILL_BYTES = 2 * 65536;
/** Room for a vnet header before a frame, and the alignment that its words need. */
const SPILL_PHASE = 16;

/**
 * The hooks of one vif. They run between payload and port, on bytes that the guest cannot change any more:
 * what a hook passed is what is sent.
 */
export class Hooks {
  readonly #chain: FrameHook[] = [];
  readonly #onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  get active(): boolean {
    return this.#chain.length > 0;
  }

  add(hook: FrameHook): Disposable {
    this.#chain.push(hook);
    return {
      [Symbol.dispose]: () => {
        const at = this.#chain.indexOf(hook);
        if (at >= 0) this.#chain.splice(at, 1);
      },
    };
  }

  /** Shows every frame of the batch to every hook; a dropped frame gets length 0. */
  run(frames: FrameBatch, direction: Direction, counters: FlowCounters): void {
    const block = frames.block;
    const spill = new Spill(frames);
    for (let i = 0; i < frames.count; i++) {
      const at = frameAt(i);
      if (block[at + FRAME_LENGTH] === 0) continue;
      if (!this.#pass(frames, at, direction, spill)) {
        block[at + FRAME_LENGTH] = 0;
        counters.filtered++;
      }
    }
  }

  #pass(frames: FrameBatch, at: number, direction: Direction, spill: Spill): boolean {
    const frame = new BorrowedFrame(frames, at);
    // A copy of the list: a hook may remove itself.
    for (const hook of [...this.#chain]) {
      try {
        const verdict = hook(frame, direction);
        if (verdict === 'drop') return false;
        if (verdict !== 'pass' && !replace(frames, at, verdict, spill)) {
          throw new RangeError(`a hook returned ${verdict.length} bytes: more than a batch has room for`);
        }
      } catch (error) {
        this.#onError(error);
        return false;
      }
    }
    return true;
  }
}

/** Puts other bytes in a frame's place, or in the spill area when they are longer. @returns false when that is full. */
function replace(frames: FrameBatch, at: number, bytes: Uint8Array, spill: Spill): boolean {
  const { block, arena } = frames;
  if (bytes.length > FRAME_BYTES_MAX) return false;
  if (bytes.length > block[at + FRAME_LENGTH]) {
    const from = block[at + FRAME_OFFSET];
    const to = spill.take(bytes.length);
    if (to < 0) return false;
    arena.bytes.copyWithin(to - VNET_HEADER_BYTES, from - VNET_HEADER_BYTES, from);
    block[at + FRAME_OFFSET] = to;
  }
  arena.bytes.set(bytes, block[at + FRAME_OFFSET]);
  block[at + FRAME_LENGTH] = bytes.length;
  return true;
}

/** The arena's tail, where frames go that a hook made longer. Empty again with every batch. */
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

class BorrowedFrame implements Frame {
  readonly #frames: FrameBatch;
  readonly #at: number;

  constructor(frames: FrameBatch, at: number) {
    this.#frames = frames;
    this.#at = at;
  }

  get bytes(): Uint8Array {
    const { block, arena } = this.#frames;
    const offset = block[this.#at + FRAME_OFFSET];
    return arena.bytes.subarray(offset, offset + block[this.#at + FRAME_LENGTH]);
  }

  get offload(): Offload {
    return readOffload(this.#frames.arena.u32, this.#frames.block[this.#at + FRAME_OFFSET]);
  }

  copy(): Frame {
    return keptFrame(this.bytes.slice(), this.offload);
  }
}

function keptFrame(bytes: Uint8Array, offload: Offload): Frame {
  return { bytes, offload, copy: () => keptFrame(bytes.slice(), offload) };
}

/** Decodes the vnet header in front of `offset`. */
function readOffload(words: Uint32Array, offset: number): Offload {
  const [first, second, third] = [0, 1, 2].map((index) => vnetWord(words, offset, index));
  const partial = (first & VNET_FLAG_NEEDS_CSUM) !== 0;
  const kind = (first >>> 8) & 0x7f;
  return {
    csumStart: partial ? second >>> 16 : 0,
    csumOffset: partial ? third & 0xffff : 0,
    gsoType: kind === VNET_GSO_NONE ? 'none' : kind === VNET_GSO_TCPV4 ? 'tcp4' : 'tcp6',
    gsoSize: kind === VNET_GSO_NONE ? 0 : second & 0xffff,
  };
}
