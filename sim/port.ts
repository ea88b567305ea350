import { FRAMES_ERRNO, type FrameBatch } from '../lib/ports/frame-batch.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../lib/ports/port.js';
import { ModelKilled } from '../lib/testing/model/index.js';
import { frameIn, headerIn, setFrameStatus } from '../lib/testing/netfront/batch-frames.js';

/** errno-base.h */
const EIO = 5;

/** The result for a frame that is written into a port: sent, an errno, or no room now. */
export type Admission = 'goes' | 'refused' | 'full';

/** A network outside of all processes, as behind a tap: it sends numbered frames, and records those that it gets. */
export interface Network {
  /** Whether frames wait in the port. */
  readonly ready: boolean;
  /** False: the network sends nothing to the port. It outlives the process, like the link of a tap whose descriptor the service manager keeps. */
  linkUp: boolean;
  /** Puts frames that are in the port into a batch, as `PortIo.read`. @returns how many. */
  read(reads: FrameBatch, options: PortOptions): number;
  take(frame: Uint8Array, header: Uint8Array): void;
  /** Records frames that were read, and must not be lost from then on. */
  left(frame: Uint8Array): void;
  admit(): Admission;
  refused(frame: Uint8Array): void;
}

/** The process that has the port open: each frame that crosses is a step at which it may end. */
export interface Owner {
  readonly alive: boolean;
  step(what: string): void;
}

/** A network's port, as one process sees it. */
export class SimPort implements Port {
  readonly name: string;
  readonly writesMapped = false;
  readonly #network: Network;
  readonly #owner: Owner;
  #io: SimIo | undefined;

  constructor(name: string, network: Network, owner: Owner) {
    this.name = name;
    this.#network = network;
    this.#owner = owner;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    this.#io = new SimIo(this.#network, this.#owner, batches, options);
    return this.#io;
  }

  setCarrier(on: boolean): boolean {
    this.#network.linkUp = on;
    if (on) this.announce();
    return true;
  }

  /** Called when frames wait. */
  announce(): void {
    this.#io?.announce();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#io?.close();
  }
}

class SimIo implements PortIo {
  readonly #network: Network;
  readonly #owner: Owner;
  readonly #batches: PortBatches;
  readonly #options: PortOptions;
  #wanted = false;
  #open = true;

  constructor(network: Network, owner: Owner, batches: PortBatches, options: PortOptions) {
    this.#network = network;
    this.#owner = owner;
    this.#batches = batches;
    this.#options = options;
  }

  write(): number {
    const { writes } = this.#batches;
    const network = this.#network;
    writes.block[FRAMES_ERRNO] = 0;
    for (let i = 0; i < writes.count; i++) {
      this.#owner.step(`port write ${i}`);
      setFrameStatus(writes, i, 0);
      const frame = frameIn(writes, i);
      if (frame.length === 0) continue;
      const admission = network.admit();
      if (admission === 'full') {
        this.#refuseFrom(i);
        return i;
      }
      if (admission === 'refused') {
        network.refused(frame);
        setFrameStatus(writes, i, EIO);
        writes.block[FRAMES_ERRNO] = EIO;
      } else network.take(frame, headerIn(writes, i));
    }
    this.#owner.step('port was written');
    return writes.count;
  }

  /** The writer stores or drops frames for which the port had no room. */
  #refuseFrom(first: number): void {
    const { writes } = this.#batches;
    for (let i = first; i < writes.count; i++) {
      const frame = frameIn(writes, i);
      if (frame.length > 0) this.#network.refused(frame);
    }
  }

  read(): number {
    this.#owner.step('port read');
    const { reads } = this.#batches;
    const count = this.#network.read(reads, this.#options);
    for (let i = 0; i < count; i++) this.#network.left(frameIn(reads, i));
    this.#owner.step('port was read');
    return count;
  }

  wantReadable(): void {
    this.#wanted = true;
    this.announce();
  }

  announce(): void {
    if (!this.#wanted || !this.#network.ready) return;
    queueMicrotask(() => {
      if (!this.#wanted || !this.#open) return;
      this.#wanted = false;
      mortal(this.#owner, this.#options.onReadable);
    });
  }

  close(): void {
    this.#open = false;
  }
}

/** Runs code that may call into a process, for callers outside of the process, and ignores that this kills it. */
export function mortal(owner: Owner, run: () => void): void {
  if (!owner.alive) return;
  try {
    run();
  } catch (error) {
    if (!(error instanceof ModelKilled)) throw error;
  }
}
