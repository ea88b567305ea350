import {
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_STATUS,
  type FrameBatch,
  frameAt,
} from '../../ports/frame-batch.js';
import { VNET_FLAG_NEEDS_CSUM, VNET_HEADER_BYTES, vnetWordOfBytes } from '../../protocol/vnet.js';
import { readTag, TrafficFrames, type TrafficTag } from './traffic-frames.js';
import type { Direction, Violations } from './violations.js';

/** The checker remembers for this many numbers whether they came. */
const WINDOW = 1 << 16;

/** Options of a Checker. */
export interface CheckerOptions {
  /** The seed of the Generator that made the frames. */
  readonly seed: number;
  /** Number of the first frame. Default 0. */
  readonly first?: number;
  /** Records frames whose content differs from what was sent, with their direction. */
  readonly violations?: Violations;
  /** The direction of the frames, for the list of violations. */
  readonly direction?: Direction;
}

/** The results for numbered frames. */
export interface CheckerCounts {
  /** Frames of the seed. */
  readonly frames: number;
  /** The bytes of these frames. */
  readonly bytes: number;
  /** Numbers that were passed over and have not come since. */
  readonly lost: number;
  /** Frames that came more than once; each further time counts. */
  readonly repeated: number;
  /** Frames that came for the first time, after a higher number. */
  readonly reordered: number;
  /** Frames that differ from what was sent. */
  readonly damaged: number;
  /** Frames of other senders, or of another seed. */
  readonly foreign: number;
  /** One more than the highest number that came. */
  readonly next: number;
}

/** Checks frames of one seed: every byte, their order, and whether each comes once. */
export class Checker {
  readonly #options: CheckerOptions;
  readonly #frames: TrafficFrames;
  readonly #tag: TrafficTag = { seed: 0, sequence: 0 };
  /** By number modulo WINDOW: 1 when it came. */
  readonly #came = new Uint8Array(WINDOW);
  readonly #counts = {
    frames: 0,
    bytes: 0,
    lost: 0,
    repeated: 0,
    reordered: 0,
    damaged: 0,
    foreign: 0,
    next: 0,
  };

  /** @param options whose frames to check, and where to record violations. */
  constructor(options: CheckerOptions) {
    this.#options = options;
    this.#frames = new TrafficFrames(options.seed);
    this.#counts.next = options.first ?? 0;
  }

  /** The counts so far. */
  get counts(): CheckerCounts {
    return { ...this.#counts };
  }

  /** Checks and accepts all frames of a batch that a port was given to write. */
  takeBatch(batch: FrameBatch): number {
    const { block } = batch;
    const { bytes } = batch.arena;
    for (let frame = 0; frame < batch.count; frame++) {
      const at = frameAt(frame);
      if (block[at + FRAME_LENGTH] > 0) this.take(bytes, block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]);
      block[at + FRAME_STATUS] = 0;
    }
    return batch.count;
  }

  /** Checks one frame; its vnet header lies in front of `start`. */
  take(bytes: Uint8Array, start: number, length: number): void {
    const counts = this.#counts;
    const tag = this.#tag;
    if (!readTag(bytes, start, length, tag) || tag.seed !== this.#frames.seed) {
      counts.foreign += 1;
      return;
    }
    counts.frames += 1;
    counts.bytes += length;
    const first = vnetWordOfBytes(bytes, start - VNET_HEADER_BYTES, 0);
    const needsChecksum = (first & VNET_FLAG_NEEDS_CSUM) !== 0;
    const difference = this.#frames.difference(bytes, start, length, tag, needsChecksum);
    if (difference !== undefined) {
      counts.damaged += 1;
      const { violations, direction = 'from-guest' } = this.#options;
      violations?.add('content-mismatch', direction, tag.sequence, difference);
    }
    this.#order(tag.sequence);
  }

  #order(sequence: number): void {
    const counts = this.#counts;
    const ahead = sequence - counts.next;
    if (ahead < 0) {
      if (ahead < -WINDOW || this.#came[sequence % WINDOW] === 1) {
        counts.repeated += 1;
        return;
      }
      counts.reordered += 1;
      counts.lost -= 1;
    } else {
      // Clears the entries, which are those of numbers lower by WINDOW.
      for (let i = 0; i < Math.min(ahead, WINDOW); i++) this.#came[(counts.next + i) % WINDOW] = 0;
      counts.lost += ahead;
      counts.next = sequence + 1;
    }
    this.#came[sequence % WINDOW] = 1;
  }
}
