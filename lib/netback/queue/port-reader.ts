import * as batch from '../../ports/frame-batch.js';
import type { PortIo } from '../../ports/port.js';
import type { GuestCapabilities } from '../frames/conform.js';
import type { FlowCounters } from '../frames/counters.js';
import type { Hooks } from '../frames/hooks.js';
import type { SentFrames } from '../frames/sent-frames.js';
import type { HashState } from '../guest/hash.js';
import type { MulticastFilter } from '../guest/multicast.js';
import type { PendingFrames } from './pending-frames.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_ERRNO } = batch;

/**
 * Reads frames for one queue from its port. Frames that pass the filter and the hooks are made to fit the guest, hashed and recorded as
 * pending.
 */
export class PortReader {
  readonly #pending: PendingFrames;
  readonly #counters: FlowCounters;
  readonly #capabilities: GuestCapabilities;
  readonly #hooks: Hooks;
  readonly #multicast: MulticastFilter;
  readonly #hash: HashState;
  readonly #sent: SentFrames | undefined;
  #io: PortIo | undefined;
  /** Whether the last batch was one of sent frames: then the port's is next, so that neither keeps the other waiting. */
  #wasSent = false;
  /** The errno of the last read; 0 if it succeeded. */
  errno = 0;

  constructor(parts: {
    pending: PendingFrames;
    counters: FlowCounters;
    capabilities: GuestCapabilities;
    hooks: Hooks;
    multicast: MulticastFilter;
    hash: HashState;
    sent?: SentFrames | undefined;
  }) {
    this.#pending = parts.pending;
    this.#counters = parts.counters;
    this.#capabilities = parts.capabilities;
    this.#hooks = parts.hooks;
    this.#multicast = parts.multicast;
    this.#hash = parts.hash;
    this.#sent = parts.sent;
  }

  start(io: PortIo): void {
    this.#io = io;
  }

  /** Asks for a turn once there are frames. */
  listen(): void {
    this.#io?.wantReadable();
    // Left behind by a turn without buffers: their time begins as well.
    if (this.#sent?.isWaiting === true) this.#sent.wakeSoon();
  }

  /**
   * Reads a batch from the port, or of the frames that the program has sent. Call it only while no frame is pending. Right after it call `accept`, or `PendingFrames.record` for plain frames: a stop
   * before that loses the frames.
   * @returns how many frames there were.
   */
  fetch(): number {
    const pending = this.#pending;
    pending.beginRead();
    const sent = this.#sent;
    const read = sent?.isWaiting === true ? this.#fetchEither(sent) : (this.#io?.read() ?? 0);
    // If there were frames before the error, the next read fails with the same error.
    this.errno = read > 0 ? 0 : pending.frames.block[FRAMES_ERRNO];
    if (read === 0) return 0;
    if (this.#multicast.active) this.#multicast.run(pending.frames, this.#counters);
    if (this.#hooks.active) this.#runHooks(read);
    return read;
  }

  /**
   * Makes the frames of the last `fetch` fit the guest, hashes them and records them as pending.
   * @param unsorted some of them may belong to another queue.
   */
  accept(unsorted: boolean): void {
    this.decode();
    this.#pending.record(unsorted);
  }

  /** Does what `accept` does for plain frames that are recorded already, and whose delivery the host has failed. */
  decode(): void {
    this.#capabilities.conform.run(this.#pending, this.#counters);
    this.#pending.hash(this.#hash);
  }

  #fetchEither(sent: SentFrames): number {
    this.#wasSent = !this.#wasSent;
    const read = this.#wasSent ? 0 : (this.#io?.read() ?? 0);
    return read > 0 ? read : sent.fill(this.#pending.frames);
  }

  #runHooks(read: number): void {
    const { frames } = this.#pending;
    this.#hooks.run(frames, 'to-guest', this.#counters);
    // A hook has detached the guest or unmapped the memory. No journal has these frames yet, so they are lost.
    if (frames.arena.bytes.length === 0) this.#counters.drop('detached', read);
  }
}
