import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import * as faults from '../faults/data-path-faults.js';
import { SendingFault } from '../faults/host-faults.js';
import type { FlowCounters } from '../frames/counters.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_ERRNO, FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_STATUS, FRAME_WORDS } = batch;
const { isFull, portFault } = faults;

/** Writes batches of the guest's frames to a port, counts them, and reports a port that fails. */
export class Sender {
  /** For the present batch: the bytes of all its frames. */
  bytes = 0;
  /** For the present batch: whether all frames are sent, with the length that they had. */
  isIntact = false;
  readonly #frames: FrameBatch;
  readonly #counters: FlowCounters;
  readonly #fault: SendingFault;
  #io: PortIo | undefined;

  constructor(parts: {
    frames: FrameBatch;
    counters: FlowCounters;
    fault?: SendingFault | undefined;
  }) {
    this.#frames = parts.frames;
    this.#counters = parts.counters;
    this.#fault = parts.fault ?? new SendingFault();
  }

  start(io: PortIo): void {
    this.#io = io;
  }

  /** Sends the frames that the previous process left pending. */
  sendPending(): void {
    this.#count(this.#io?.write() ?? 0);
  }

  send(): void {
    const { block, count } = this.#frames;
    const written = this.#io?.write() ?? 0;
    const errno = block[FRAMES_ERRNO];
    if (this.isIntact && written === count && errno === 0) {
      this.#counters.countBatch(count, this.bytes);
    } else {
      this.#counters.batches++;
      this.#count(written);
    }
    if (errno !== 0 || this.#fault.isPresent) this.#judgePort(errno, written);
  }

  /** Reports the port's failure to send frames, unless the frame itself can cause that errno. `#count` counts the dropped frames. */
  #judgePort(errno: number, written: number): void {
    const fault = portFault('Sending frames of the guest', errno);
    if (fault !== undefined || (this.#fault.isPresent && this.#hasSent(written))) this.#fault.set(fault);
  }

  /** Whether the port has sent a frame of the batch: a batch of which all frames were dropped before does not show that it works. */
  #hasSent(written: number): boolean {
    const { block } = this.#frames;
    for (let i = 0; i < written; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      if (block[at + FRAME_LENGTH] !== 0 && block[at + FRAME_STATUS] === 0) return true;
    }
    return false;
  }

  /** Counts the sent and dropped frames of a batch, one by one. @param written how many frames, from the first, the port has handled. */
  #count(written: number): void {
    const { block, count } = this.#frames;
    const counters = this.#counters;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const length = block[at + FRAME_LENGTH];
      if (length === 0) continue;
      if (i >= written || block[at + FRAME_STATUS] !== 0) {
        counters.drop(i < written && !isFull(block[at + FRAME_STATUS]) ? 'refused' : 'port');
        continue;
      }
      counters.frames++;
      counters.bytes += length;
    }
  }
}
