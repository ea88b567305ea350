import { FRAMES_MORE, type FrameBatch } from '../lib/ports/frame-batch.js';
import type { PortOptions } from '../lib/ports/port.js';
import { everyNth } from '../lib/testing/model/faults.js';
import { addFrame } from '../lib/testing/netfront/batch-frames.js';
import { Generator } from '../lib/testing/netfront/index.js';
import type { Admission, Network, SimPort } from './port.js';
import type { FaultPlan, GuestPlan } from './scenario.js';

/** Events of the frames of one queue in a host's network. */
export interface HostEnd {
  /** The network got a frame. */
  take(frame: Uint8Array, header: Uint8Array): void;
  /** A process has read a frame, which must not be lost from then on. */
  left(frame: Uint8Array): void;
  /** The port did not send a frame, and reported that. */
  refused(frame: Uint8Array): void;
}

/** The network behind a queue of a vif: it outlives the backend's processes, as a persistent tap and its bridge do. */
export class HostNetwork implements Network {
  port: SimPort | undefined;
  /** Makes numbered frames; those that have left it are in the port. */
  readonly #generator: Generator;
  readonly #end: HostEnd;
  readonly #full: () => boolean;
  readonly #refuses: () => boolean;
  #linkUp = false;
  /** Numbered frames that the port has taken, read or not. */
  #entered = 0;
  /** Frames that the host sends once the link is up. */
  #pending = 0;
  /** Other frames in the port; a process reads them before the numbered ones. */
  readonly #others: Uint8Array[] = [];
  /** Whether it sends GSO frames whatever offloads the reader has. */
  readonly #cut: boolean;

  constructor(seed: number, { sizes, mtuBytes, cut }: GuestPlan, faults: FaultPlan, end: HostEnd) {
    this.#generator = new Generator({ seed, sizes, mtuBytes, frames: 0 });
    this.#cut = cut;
    this.#end = end;
    this.#full = everyNth(faults.portFullEvery || undefined);
    this.#refuses = everyNth(faults.portRefusesEvery || undefined);
  }

  get linkUp(): boolean {
    return this.#linkUp;
  }

  set linkUp(up: boolean) {
    this.#linkUp = up;
    if (up) this.#enter(this.#pending);
    if (up) this.#pending = 0;
  }

  get ready(): boolean {
    return this.#generator.ready || this.#others.length > 0;
  }

  /** Whether no frame waits, in the port or before it. */
  get still(): boolean {
    return !this.ready && this.#pending === 0;
  }

  /** Numbered frames that the port has taken so far, read or not. */
  get entered(): number {
    return this.#entered;
  }

  send(frames: number): void {
    if (this.#linkUp) this.#enter(frames);
    else this.#pending += frames;
    this.port?.announce();
  }

  /** Puts a frame into the port, whether or not the link is up. */
  put(frame: Uint8Array): void {
    this.#others.push(frame);
    this.port?.announce();
  }

  /** Takes back the frames of `put` that no process has read. */
  takeBack(): void {
    this.#others.length = 0;
  }

  read(reads: FrameBatch, options: PortOptions): number {
    const heeded = this.#cut ? { ...options, gsoV4: true } : options;
    if (this.#others.length === 0) return this.#generator.fill(reads, heeded);
    reads.count = 0;
    while (this.#others.length > 0 && addFrame(reads, this.#others[0])) this.#others.shift();
    reads.block[FRAMES_MORE] = this.ready ? 1 : 0;
    return reads.count;
  }

  take(frame: Uint8Array, header: Uint8Array): void {
    this.#end.take(frame, header);
  }

  left(frame: Uint8Array): void {
    this.#end.left(frame);
  }

  admit(): Admission {
    if (this.#full()) return 'full';
    return this.#refuses() ? 'refused' : 'goes';
  }

  refused(frame: Uint8Array): void {
    this.#end.refused(frame);
  }

  #enter(frames: number): void {
    this.#entered += frames;
    this.#generator.more(frames);
  }
}
