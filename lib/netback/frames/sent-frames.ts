import type { FrameBatch } from '../../ports/frame-batch.js';
import { type FrameOffload, requireFrame, writeOffload } from '../../ports/offload.js';
import { FrameQueue, fillFrom } from '../../ports/queue.js';
import { VNET_HEADER_BYTES } from '../../protocol/vnet.js';

/** The most bytes that wait: as many as a pair has. */
const QUEUE_BYTES = 1 << 20;

/** Frames that a program sends to a guest besides those of the port. They wait here until a queue of the guest reads them. */
export class SentFrames {
  /** How many frames wait. */
  #waiting = 0;
  /** Made for the first frame, since most programs send none. */
  #queue: FrameQueue | undefined;
  #wake: (() => void) | undefined;

  get isWaiting(): boolean {
    return this.#waiting > 0;
  }

  /**
   * Takes frames from now on. Disposal drops those that wait.
   * @param wake called in a microtask when the first frame waits: it must lead to `fill`.
   * @param onDropped called by disposal, with how many it drops.
   */
  open(wake: () => void, onDropped: (frames: number) => void): Disposable {
    this.#wake = wake;
    return {
      [Symbol.dispose]: () => {
        if (this.#wake !== wake) return;
        this.#wake = undefined;
        this.#queue?.clear();
        onDropped(this.#waiting);
        this.#waiting = 0;
      },
    };
  }

  /** As `FrameReceiver.send`. */
  send(frame: Uint8Array, offload?: Partial<FrameOffload>): boolean {
    requireFrame(frame);
    const wake = this.#wake;
    if (wake === undefined) return false;
    this.#queue ??= new FrameQueue(QUEUE_BYTES);
    const bytes = VNET_HEADER_BYTES + frame.length;
    if (!this.#queue.hasRoom(bytes, 1)) return false;
    const record = this.#queue.reserve(bytes);
    writeOffload(record, 0, offload);
    record.set(frame, VNET_HEADER_BYTES);
    this.#queue.commit(bytes);
    if (this.#waiting++ === 0) this.wakeSoon();
    return true;
  }

  /** Wakes the guest's pumps for the frames that wait: in a microtask, never within a turn of those pumps, whose hooks may call `send`. */
  wakeSoon(): void {
    const wake = this.#wake;
    queueMicrotask(() => {
      if (wake !== undefined && this.#wake === wake && this.isWaiting) wake();
    });
  }

  /** As `PortIo.read`. */
  fill(reads: FrameBatch): number {
    if (this.#queue === undefined) return 0;
    const count = fillFrom(this.#queue, reads);
    this.#waiting -= count;
    return count;
  }
}
