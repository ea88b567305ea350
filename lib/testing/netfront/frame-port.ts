import { FRAME_BYTES_MAX, FRAMES_ERRNO, FRAMES_MORE, type FrameBatch } from '../../ports/frame-batch.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../ports/port.js';
import { addFrame, frameIn, headerIn, setFrameStatus } from './batch-frames.js';

/** Options of a FramePort. */
export interface FramePortOptions {
  /** Default: `frames`. */
  readonly name?: string;
  /** Called with each frame that is written into the port, and its virtio_net_hdr. The bytes change when it has returned. */
  readonly onFrame?: (frame: Uint8Array, header: Uint8Array) => void;
  /** Called before each write, with how many frames the batch has. */
  readonly onWrite?: (frames: number) => void;
  /**
   * Decides about a frame before `onFrame` sees it. 0: the port takes it. An errno: that is the frame's status, and `onFrame` does not see
   * it. 'full': the frame and those behind it stay with the writer. Default: the port takes each.
   */
  readonly admit?: () => number | 'full';
  /** How many frames may wait to be read. Default 65536. */
  readonly queuedMax?: number;
}

interface QueuedFrame {
  readonly frame: Uint8Array;
  readonly header: Uint8Array | undefined;
}

const QUEUED_MAX = 65_536;

/**
 * A port in plain JavaScript: `onFrame` gets the frames that are written into it, and frames passed to `send` are read out of it. For tests
 * and for small networks of your own, at either end of a vif: each frame is copied. The next process of a backend may open it again; frames
 * that wait stay.
 */
export class FramePort implements Port {
  /** The name of the port. */
  readonly name: string;
  /** False: frames are whole in the arena. */
  readonly writesMapped: boolean = false;
  readonly #options: FramePortOptions;
  readonly #queue: QueuedFrame[] = [];
  /** Set while the reader wants to be called when frames wait. */
  #onReadable: (() => void) | undefined;

  /** @param options what to do with frames, and how many may wait. */
  constructor(options: FramePortOptions = {}) {
    this.name = options.name ?? 'frames';
    this.#options = options;
  }

  /** How many frames wait to be read. */
  get queued(): number {
    return this.#queue.length;
  }

  /**
   * Adds a frame to those that wait to be read, and calls the reader if it waits for frames.
   * @param header its virtio_net_hdr. Default: no offload.
   * @returns false if `queuedMax` frames wait: the frame is dropped.
   */
  send(frame: Uint8Array, header?: Uint8Array): boolean {
    const hasRoom = this.#queue.length < (this.#options.queuedMax ?? QUEUED_MAX);
    if (hasRoom) this.#queue.push({ frame, header });
    this.#announce();
    return hasRoom;
  }

  open(batches: PortBatches, { onReadable }: PortOptions): PortIo {
    this.#onReadable = undefined;
    return {
      write: () => this.#write(batches),
      read: () => this.#read(batches.reads),
      wantReadable: () => {
        this.#onReadable = onReadable;
        if (this.queued > 0) queueMicrotask(() => this.#announce());
      },
      close: () => {
        if (this.#onReadable === onReadable) this.#onReadable = undefined;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#onReadable = undefined;
  }

  /** The bytes of a frame that was written. */
  protected frameOf({ writes }: PortBatches, index: number): Uint8Array {
    return frameIn(writes, index);
  }

  #announce(): void {
    if (this.queued === 0) return;
    const onReadable = this.#onReadable;
    this.#onReadable = undefined;
    onReadable?.();
  }

  #write(batches: PortBatches): number {
    const { writes } = batches;
    const { onWrite, onFrame, admit } = this.#options;
    onWrite?.(writes.count);
    writes.block[FRAMES_ERRNO] = 0;
    for (let index = 0; index < writes.count; index++) {
      setFrameStatus(writes, index, 0);
      const frame = this.frameOf(batches, index);
      if (frame.length === 0) continue;
      const admitted = admit?.() ?? 0;
      if (admitted === 'full') return index;
      if (admitted === 0) onFrame?.(frame, headerIn(writes, index));
      else {
        setFrameStatus(writes, index, admitted);
        writes.block[FRAMES_ERRNO] = admitted;
      }
    }
    return writes.count;
  }

  #read(reads: FrameBatch): number {
    reads.count = 0;
    const isRead = ({ frame, header }: QueuedFrame) =>
      // The longest frame must fit, as for a tap, so that code that works with this port works with a tap.
      addFrame(reads, frame, header, FRAME_BYTES_MAX);
    const left = this.#queue.findIndex((queued) => !isRead(queued));
    this.#queue.splice(0, left < 0 ? this.#queue.length : left);
    reads.block[FRAMES_ERRNO] = 0;
    reads.block[FRAMES_MORE] = this.queued > 0 ? 1 : 0;
    return reads.count;
  }
}
