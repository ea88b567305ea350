import type { PortBatches, PortIo, PortOptions } from '../lib/ports/port.js';
import { ModelKilled } from '../lib/testing/model/index.js';
import { TrafficPort } from '../lib/testing/netfront/index.js';
import { machineMs } from './clock.js';
import type { Silence } from './messages.js';
import type { Recorder } from './recorder.js';

/** Lengths of frames: small ones, full ones, and ones that the other end segments. */
const SIZES = [60, 1514, 1514, 9014, 65535, 590];
/** Shorter silences come from the ends taking turns in one process. */
const SILENCE_MIN_MS = 5;

export interface ModelPortOptions {
  readonly name: string;
  readonly sends: number;
  readonly expects: number;
  /** Checks the stream that arrives here. */
  readonly stream: number;
  readonly recorder: Recorder;
}

/** A port that produces known frames without end, checks the frames that are written into it, and notes silences. */
export class ModelPort extends TrafficPort {
  readonly #options: ModelPortOptions;
  #bytes = 0;
  #wrong = 0;
  #lastMs = machineMs();
  #silences: Silence[] = [];

  constructor(options: ModelPortOptions) {
    super({
      name: options.name,
      generate: { seed: options.sends, sizes: SIZES },
      check: { seed: options.expects },
      defer: runLater,
    });
    this.#options = options;
  }

  override open(batches: PortBatches, options: PortOptions): PortIo {
    const io = super.open(batches, options);
    const write = io.write.bind(io);
    io.write = () => {
      this.#arrived();
      return write();
    };
    return io;
  }

  /** Reports to the recorder what came since the last call. */
  report(): void {
    const { recorder, stream } = this.#options;
    const counts = this.checker?.counts;
    if (counts === undefined) return;
    const now = machineMs();
    if (now - this.#lastMs >= SILENCE_MIN_MS) this.#silences.push([this.#lastMs, now]);
    recorder.received(stream, counts.bytes - this.#bytes, this.#silences);
    const wrong = counts.damaged + counts.foreign;
    if (wrong > this.#wrong) recorder.differ(stream, wrong - this.#wrong);
    this.#silences = [];
    this.#bytes = counts.bytes;
    this.#wrong = wrong;
  }

  #arrived(): void {
    const now = machineMs();
    if (now - this.#lastMs >= SILENCE_MIN_MS) this.#silences.push([this.#lastMs, now]);
    this.#lastMs = now;
  }
}

/**
 * Runs a callback in a turn of its own, so that endless generators leave turns to others. Callbacks of a process that has ended do not run.
 */
function runLater(run: () => void): void {
  setImmediate(() => {
    try {
      run();
    } catch (error) {
      if (!(error instanceof ModelKilled)) throw error;
    }
  });
}
