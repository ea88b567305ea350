import type { Arena } from '../xen/types.js';
import { FrameQueue, fillFrom } from './queue.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAMES_END,
  FRAMES_START,
  FrameBatch,
  frameAt,
  type Port,
  type PortBatches,
  type PortIo,
  type PortOptions,
  VNET_HEADER_BYTES,
} from './types.js';

/** Waits in front of a queue at most: about a tap's own queue of full-sized frames. */
const QUEUE_BYTES = 1 << 20;
const STAGED_FRAMES = 64;
const STAGED_BYTES = 4 * (FRAME_BYTES_MAX + 64) + STAGED_FRAMES * 2048;

export interface Steering {
  /** @returns the queue that a frame goes to; one that is not there: that by which the port gave it. */
  queueOf(bytes: Uint8Array, start: number, length: number): number;
  /** A queue had no room for a frame that goes to it. */
  onDropped(queue: number): void;
}

/**
 * A port whose frames go to the queues that somebody else chooses, whatever the port's own choice. All of the port's queues
 * are read into one batch, and each frame waits in front of its queue until that is read. Nothing is read unless one of
 * the queues has room, and one that has none loses frames and holds up no other.
 *
 * What waits here is in no journal: at the end of a life it is lost, as at a switch.
 */
export class SteeredPort implements Port {
  readonly name: string;
  readonly writesMapped: boolean;
  readonly queuesMax: number;
  readonly #port: Port;
  readonly #steering: Steering;
  readonly #staged: FrameBatch;
  readonly #queues: SteeredIo[] = [];
  /** Which of the port's queues is read next. */
  #turn = 0;

  constructor(port: Port, arena: (bytes: number) => Arena, steering: Steering) {
    this.name = port.name;
    this.writesMapped = port.writesMapped;
    this.queuesMax = port.queuesMax ?? 1;
    this.#port = port;
    this.#steering = steering;
    this.#staged = new FrameBatch(arena(STAGED_BYTES), STAGED_FRAMES);
    this.#staged.block[FRAMES_START] = 0;
    this.#staged.block[FRAMES_END] = STAGED_BYTES;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    const { index } = options.queue ?? { index: 0 };
    const io = this.#port.open(
      { ...batches, reads: this.#staged },
      { ...options, onReadable: () => this.#readable(index) },
    );
    const queue = new SteeredIo(io, batches.reads, options, {
      fetch: () => this.#fetchFor(index),
      want: () => this.#want(),
    });
    this.#queues[index] = queue;
    return queue;
  }

  async remove(): Promise<void> {
    await this.#port.remove?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#port[Symbol.asyncDispose]();
  }

  /** Reads the port's queues, each once at most, until a frame for this one has come. */
  #fetchFor(index: number): void {
    const count = this.#queues.length;
    for (let tries = 0; tries < count && this.#queues[index].empty; tries++) {
      this.#spread(this.#turn);
      this.#turn = (this.#turn + 1) % count;
    }
    // The others hear of what came for them.
    for (let queue = 0; queue < count; queue++) if (queue !== index) this.#queues[queue].announce();
  }

  /** What a queue waits for may come by any of the port's. */
  #want(): void {
    for (const { io } of this.#queues) io.wantReadable();
  }

  /** Frames wait in one of the port's queues. */
  #readable(index: number): void {
    if (this.#queues.every((queue) => !queue.wanted)) return;
    this.#spread(index);
    for (const queue of this.#queues) queue.announce();
    if (this.#queues.some((queue) => queue.wanted)) this.#queues[index].io.wantReadable();
  }

  #spread(from: number): void {
    const { block, arena } = this.#staged;
    const { bytes } = arena;
    const frames = this.#queues[from].io.read();
    for (let i = 0; i < frames; i++) {
      const at = frameAt(i);
      const [start, length] = [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
      const chosen = this.#steering.queueOf(bytes, start, length);
      const index = this.#queues[chosen] === undefined ? from : chosen;
      if (!this.#queues[index].take(bytes, start, length)) this.#steering.onDropped(index);
    }
  }
}

class SteeredIo implements PortIo {
  readonly io: PortIo;
  readonly write: () => number;
  /** Its reader has room, and waits to be told of frames. */
  wanted = false;
  readonly #reads: FrameBatch;
  readonly #options: PortOptions;
  readonly #behind: { fetch(): void; want(): void };
  readonly #queue = new FrameQueue(QUEUE_BYTES);

  constructor(io: PortIo, reads: FrameBatch, options: PortOptions, behind: { fetch(): void; want(): void }) {
    this.io = io;
    this.write = () => io.write();
    this.#reads = reads;
    this.#options = options;
    this.#behind = behind;
  }

  get empty(): boolean {
    return this.#queue.empty;
  }

  read(): number {
    this.wanted = false;
    if (this.#queue.empty) this.#behind.fetch();
    return fillFrom(this.#queue, this.#reads);
  }

  wantReadable(): void {
    this.wanted = true;
    this.announce();
    if (this.wanted) this.#behind.want();
  }

  /** Tells the reader, if it waits and there is something. */
  announce(): void {
    if (!this.wanted || this.#queue.empty) return;
    this.wanted = false;
    this.#options.onReadable();
  }

  /** @returns false when there is no room. */
  take(bytes: Uint8Array, start: number, length: number): boolean {
    const record = length + VNET_HEADER_BYTES;
    if (!this.#queue.hasRoom(record, 1)) return false;
    this.#queue.reserve(record).set(bytes.subarray(start - VNET_HEADER_BYTES, start + length));
    this.#queue.commit(record);
    return true;
  }

  close(): void {
    this.wanted = false;
    this.#queue.clear();
    this.io.close();
  }
}
