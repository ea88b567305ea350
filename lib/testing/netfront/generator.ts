import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_END,
  FRAMES_ERRNO,
  FRAMES_MORE,
  FRAMES_START,
  type FrameBatch,
  frameAt,
  framePlace,
} from '../../ports/frame-batch.js';
import type { PortOptions } from '../../ports/port.js';
import { TRAFFIC_BYTES_MAX, TRAFFIC_BYTES_MIN, TRAFFIC_MTU_BYTES, TrafficFrames } from './traffic-frames.js';

/** Options of a Generator. */
export interface GeneratorOptions {
  /** Decides the content of the frames; a Checker of the same seed knows them. */
  readonly seed: number;
  /** Lengths of the frames in turn, 54 to 65535 bytes; longer than `mtuBytes` is GSO. */
  readonly sizes: readonly number[];
  /** The longest plain frame, over however many slots: 1514 (the default), or more for jumbo frames. */
  readonly mtuBytes?: number;
  /** How many frames there are at first; `more` adds to them. Default: without end. */
  readonly frames?: number;
  /** Number of the first frame. Default 0. */
  readonly first?: number;
  /** Leaves the checksum to the reader. Default: if the reader can take it. GSO frames always do. */
  readonly partialChecksum?: boolean;
}

/** Fills batches with numbered frames. */
export class Generator {
  readonly #options: GeneratorOptions;
  readonly #mtuBytes: number;
  readonly #frames: TrafficFrames;
  #next: number;
  #end: number;
  #bytes = 0;

  /** @param options seed, sizes and number of the frames. */
  constructor(options: GeneratorOptions) {
    this.#options = options;
    this.#mtuBytes = options.mtuBytes ?? TRAFFIC_MTU_BYTES;
    this.#frames = new TrafficFrames(options.seed, this.#mtuBytes);
    this.#next = options.first ?? 0;
    this.#end = this.#next + (options.frames ?? Number.POSITIVE_INFINITY);
  }

  /** Frames made so far. */
  get sent(): number {
    return this.#next - (this.#options.first ?? 0);
  }

  /** The bytes of the frames so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether there are frames to make. */
  get ready(): boolean {
    return this.#next < this.#end;
  }

  /** Adds `frames` to those that are to be made. */
  more(frames: number): void {
    this.#end += frames;
  }

  /** As `PortIo.read`: puts frames where the batch requires, until its space, its capacity or the frames end. */
  fill(batch: FrameBatch, reader: PortOptions): number {
    const { block } = batch;
    const { bytes } = batch.arena;
    let from = block[FRAMES_START];
    let count = 0;
    while (count < batch.capacity && this.ready) {
      const start = framePlace(block, from);
      // A tap does not know a frame's length before it reads it, so the longest frame must fit.
      if (start + FRAME_BYTES_MAX > block[FRAMES_END]) break;
      const length = this.#length(reader);
      const partial = this.#options.partialChecksum ?? reader.checksumV4;
      this.#frames.write(bytes, start, length, this.#next >>> 0, partial && reader.checksumV4);
      const at = frameAt(count);
      block[at + FRAME_OFFSET] = start;
      block[at + FRAME_LENGTH] = length;
      block[at + FRAME_OP_COUNT] = 0;
      block[at + FRAME_STATUS] = 0;
      count += 1;
      from = start + length;
      this.#next += 1;
      this.#bytes += length;
    }
    batch.count = count;
    block[FRAMES_ERRNO] = 0;
    block[FRAMES_MORE] = this.ready ? 1 : 0;
    return count;
  }

  #length(reader: PortOptions): number {
    const { sizes } = this.#options;
    const wanted = sizes[this.#next % sizes.length] ?? TRAFFIC_BYTES_MIN;
    const most = reader.gsoV4 ? TRAFFIC_BYTES_MAX : this.#mtuBytes;
    return Math.max(TRAFFIC_BYTES_MIN, Math.min(wanted, most));
  }
}
