import { VNET_HEADER_BYTES } from '../protocol/vnet.js';
import {
  FRAME_BYTES_MAX,
  FRAME_FIRST_OP,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_COUNT,
  FRAMES_END,
  FRAMES_ERRNO,
  FRAMES_MORE,
  FRAMES_START,
  type FrameBatch,
  frameAt,
  framePlace,
} from './frame-batch.js';

/** Frames that wait, in order, in a ring of bytes of fixed size. A frame that does not fit is refused. */
export class FrameQueue {
  readonly #bytes: Uint8Array;
  /** Offsets of the oldest record, and of the end of the newest. They only grow; their place in the ring is the remainder. */
  #head = 0;
  #tail = 0;
  /** Where the record of the last `reserve` begins. */
  #reserved = 0;

  constructor(bytes: number) {
    this.#bytes = new Uint8Array(bytes);
  }

  get empty(): boolean {
    return this.#head === this.#tail;
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  /** True when records of `bytes` together, `count` of them, fit now. */
  hasRoom(bytes: number, count: number): boolean {
    // A record never wraps, so each may leave a gap as long as itself at the end; one gap at most is ever there.
    return this.#tail - this.#head + bytes + count * LENGTH_BYTES + RECORD_BYTES_MAX <= this.#bytes.length;
  }

  /** Returns room for a record of `bytes`; `commit` queues the record, and without it nothing is queued. Call it only after `hasRoom`. */
  reserve(bytes: number): Uint8Array {
    const end = this.#tail % this.#bytes.length;
    const fits = end + LENGTH_BYTES + bytes <= this.#bytes.length;
    this.#reserved = fits ? this.#tail : this.#tail + this.#bytes.length - end;
    const at = (this.#reserved % this.#bytes.length) + LENGTH_BYTES;
    return this.#bytes.subarray(at, at + bytes);
  }

  commit(bytes: number): void {
    if (this.#reserved !== this.#tail) {
      const end = this.#tail % this.#bytes.length;
      if (end + LENGTH_BYTES <= this.#bytes.length) this.#putLength(end, GAP);
      this.#tail = this.#reserved;
    }
    this.#putLength(this.#tail % this.#bytes.length, bytes);
    this.#tail += LENGTH_BYTES + bytes;
  }

  /** The oldest record; valid until `shift`. */
  peek(): Uint8Array | undefined {
    if (this.empty) return undefined;
    let at = this.#head % this.#bytes.length;
    if (at + LENGTH_BYTES > this.#bytes.length || this.#length(at) === GAP) {
      this.#head += this.#bytes.length - at;
      at = 0;
    }
    return this.#bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + this.#length(at));
  }

  shift(): void {
    const record = this.peek();
    if (record !== undefined) this.#head += LENGTH_BYTES + record.length;
  }

  clear(): void {
    this.#head = 0;
    this.#tail = 0;
  }

  #length(at: number): number {
    const bytes = this.#bytes;
    return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
  }

  #putLength(at: number, length: number): void {
    this.#bytes[at] = length & 0xff;
    this.#bytes[at + 1] = (length >>> 8) & 0xff;
    this.#bytes[at + 2] = length >>> 16;
  }
}

const LENGTH_BYTES = 3;
/** A length that no record has: the next record is at the ring's start. */
const GAP = 0xffffff;
/** A frame of 65535 + 18 bytes, its vnet header and its length. */
const RECORD_BYTES_MAX = 65_568;

/** As `PortIo.read`, out of a queue whose records are frames behind their vnet headers. */
export function fillFrom(queue: FrameQueue, reads: FrameBatch): number {
  const { block, capacity, arena } = reads;
  const end = Math.min(block[FRAMES_END], arena.bytes.length);
  let cursor = block[FRAMES_START];
  let count = 0;
  for (; count < capacity; count++) {
    const record = queue.peek();
    if (record === undefined) break;
    const offset = framePlace(block, cursor);
    // A tap needs the same room, so that code that works with a pair works with a tap.
    if (offset + FRAME_BYTES_MAX > end) break;
    arena.bytes.set(record, offset - VNET_HEADER_BYTES);
    const length = record.length - VNET_HEADER_BYTES;
    queue.shift();
    const at = frameAt(count);
    block[at + FRAME_OFFSET] = offset;
    block[at + FRAME_LENGTH] = length;
    block[at + FRAME_FIRST_OP] = 0;
    block[at + FRAME_OP_COUNT] = 0;
    block[at + FRAME_STATUS] = 0;
    cursor = offset + length;
  }
  block[FRAMES_COUNT] = count;
  block[FRAMES_MORE] = queue.empty ? 0 : 1;
  block[FRAMES_ERRNO] = 0;
  return count;
}
