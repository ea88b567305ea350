import {
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_START,
  frameAt,
} from '../../lib/ports/frame-batch.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../lib/ports/port.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';

/** A guest's port that gives the same frame at each tick, and tells of every frame that comes. */
export class TickerPort implements Port {
  readonly name = 'ticker';
  readonly writesMapped = false;
  readonly #frame: Uint8Array;
  readonly #onFrame: (bytes: Uint8Array) => void;
  #due = false;
  #wake: (() => void) | undefined;

  constructor(frame: Uint8Array, onFrame: (bytes: Uint8Array) => void) {
    this.#frame = frame;
    this.#onFrame = onFrame;
  }

  /** A frame waits to be read: one, however full the ring was at the ticks before. */
  tick(): void {
    this.#due = true;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  open({ writes, reads }: PortBatches, options: PortOptions): PortIo {
    return {
      write: () => {
        for (let i = 0; i < writes.count; i++) {
          const at = frameAt(i);
          const [offset, length] = [writes.block[at + FRAME_OFFSET], writes.block[at + FRAME_LENGTH]];
          if (length > 0) this.#onFrame(writes.arena.bytes.subarray(offset, offset + length));
          writes.block[at + FRAME_STATUS] = 0;
        }
        return writes.count;
      },
      read: () => {
        reads.count = 0;
        if (!this.#due) return 0;
        this.#due = false;
        const offset = reads.block[FRAMES_START] + 64;
        reads.arena.bytes.fill(0, offset - VNET_HEADER_BYTES, offset);
        reads.arena.bytes.set(this.#frame, offset);
        const at = frameAt(0);
        reads.block[at + FRAME_OFFSET] = offset;
        reads.block[at + FRAME_LENGTH] = this.#frame.length;
        reads.block[at + FRAME_OP_COUNT] = 0;
        reads.block[at + FRAME_STATUS] = 0;
        reads.count = 1;
        return 1;
      },
      wantReadable: () => {
        this.#wake = () => options.onReadable();
      },
      close: () => {
        this.#wake = undefined;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
