import { FRAMES_MORE } from '../../ports/frame-batch.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../ports/port.js';
import { Checker, type CheckerCounts, type CheckerOptions } from './checker.js';
import { Generator, type GeneratorOptions } from './generator.js';

/** Options of a TrafficPort. */
export interface TrafficOptions {
  /** The name of the port. Default: `traffic`. */
  readonly name?: string;
  /** Frames that are read out of the port. */
  readonly generate?: GeneratorOptions;
  /** The frames that are expected. Without it, frames that are written into the port are only counted. */
  readonly check?: CheckerOptions;
  /** Runs `onReadable` once the present call has returned. Default: queueMicrotask. */
  readonly defer?: (run: () => void) => void;
}

/**
 * A port with no network behind it: it produces known frames, and checks the frames that it gets. It serves for both ends of a vif, in
 * tests and where there are no rights for a tap. The next process of a backend may open it again; the counts
 * continue.
 */
export class TrafficPort implements Port {
  /** The name of the port. */
  readonly name: string;
  readonly writesMapped = false;
  /** Makes what is read from the port, if there is a `generate`. */
  readonly generator: Generator | undefined;
  /** Checks what is written into the port, if there is a `check`. */
  readonly checker: Checker | undefined;
  readonly #defer: (run: () => void) => void;
  #current: TrafficIo | undefined;
  #framesWritten = 0;

  /** @param options what to generate, and what to check. */
  constructor(options: TrafficOptions) {
    this.name = options.name ?? 'traffic';
    this.generator = options.generate === undefined ? undefined : new Generator(options.generate);
    this.checker = options.check === undefined ? undefined : new Checker(options.check);
    this.#defer = options.defer ?? queueMicrotask;
  }

  /** Frames written into the port. */
  get framesWritten(): number {
    return this.#framesWritten;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    this.#current?.close();
    this.#current = new TrafficIo(this, batches, options, this.#defer, (frames) => {
      this.#framesWritten += frames;
    });
    return this.#current;
  }

  /** Adds frames to those that the generator has left, and calls the reader. */
  send(frames: number): void {
    this.generator?.more(frames);
    this.#current?.announce();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#current?.close();
    return Promise.resolve();
  }
}

class TrafficIo implements PortIo {
  readonly #port: TrafficPort;
  readonly #batches: PortBatches;
  readonly #options: PortOptions;
  readonly #defer: (run: () => void) => void;
  readonly #onWritten: (frames: number) => void;
  #wanted = false;
  #open = true;

  constructor(
    port: TrafficPort,
    batches: PortBatches,
    options: PortOptions,
    defer: (run: () => void) => void,
    onWritten: (frames: number) => void,
  ) {
    this.#port = port;
    this.#batches = batches;
    this.#options = options;
    this.#defer = defer;
    this.#onWritten = onWritten;
  }

  write(): number {
    const { writes } = this.#batches;
    this.#onWritten(writes.count);
    return this.#port.checker?.takeBatch(writes) ?? writes.count;
  }

  read(): number {
    const { reads } = this.#batches;
    if (this.#port.generator !== undefined) return this.#port.generator.fill(reads, this.#options);
    reads.count = 0;
    reads.block[FRAMES_MORE] = 0;
    return 0;
  }

  wantReadable(): void {
    this.#wanted = true;
    this.announce();
  }

  announce(): void {
    if (!this.#wanted || this.#port.generator?.ready !== true) return;
    this.#defer(() => {
      if (!this.#wanted || !this.#open) return;
      this.#wanted = false;
      this.#options.onReadable();
    });
  }

  close(): void {
    this.#open = false;
  }
}

/** A port from which known frames are read. Frames that are written into it are counted. */
export class GeneratorPort extends TrafficPort {
  override readonly generator: Generator;

  /** @param options of its Generator. */
  constructor(options: GeneratorOptions & { readonly name?: string }) {
    super({ name: options.name ?? 'generator' });
    this.generator = new Generator(options);
  }
}

/** A port that checks the frames that are written into it. No frames are read from it. */
export class CheckerPort extends TrafficPort {
  override readonly checker: Checker;

  /** @param options of its Checker. */
  constructor(options: CheckerOptions & { readonly name?: string }) {
    super({ name: options.name ?? 'checker' });
    this.checker = new Checker(options);
  }

  /** The counts of its checker. */
  get counts(): CheckerCounts {
    return this.checker.counts;
  }
}
