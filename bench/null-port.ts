import * as batch from '../lib/ports/frame-batch.js';
import type { PortIo } from '../lib/ports/port.js';
import { VNET_HEADER_BYTES } from '../lib/protocol/vnet.js';

const { FRAME_BYTES_MAX, FRAME_LENGTH, FRAME_OFFSET, FRAMES_END, frameAt, framePlace } = batch;
type FrameBatch = batch.FrameBatch;

/** Accepts all frames of the guest without a look at them, and delivers the same frame again and again, each time that it is offered. */
export class NullPortIo implements PortIo {
  offered = 0;
  readonly #writes: FrameBatch;
  readonly #reads: FrameBatch;
  #room = 0;

  constructor(writes: FrameBatch, reads: FrameBatch) {
    this.#writes = writes;
    this.#reads = reads;
  }

  /** Lays copies of a frame out in the arena, as a tap's reads do. @param bytes begin with the vnet header. */
  fill(bytes: Uint8Array): void {
    const { block, arena, capacity } = this.#reads;
    const length = bytes.length - VNET_HEADER_BYTES;
    let offset = framePlace(block, 0);
    for (this.#room = 0; this.#room < capacity; this.#room++) {
      if (offset + FRAME_BYTES_MAX > block[FRAMES_END]) return;
      arena.bytes.set(bytes, offset - VNET_HEADER_BYTES);
      block[frameAt(this.#room) + FRAME_OFFSET] = offset;
      block[frameAt(this.#room) + FRAME_LENGTH] = length;
      offset = framePlace(block, offset + length);
    }
  }

  write(): number {
    return this.#writes.count;
  }

  read(): number {
    const count = Math.min(this.offered, this.#room);
    this.offered -= count;
    this.#reads.count = count;
    return count;
  }

  wantReadable(): void {}
  close(): void {}
}
