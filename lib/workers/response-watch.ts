import { VifdError } from '../errors.js';
import { Faults } from '../netback/faults/present-faults.js';
import type { VifId } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';
import type { RunningWorker } from './running-worker.js';

/** A worker that responds to nothing for so long is reported. */
const SILENT_MS = 5000;

export interface ResponseWatchParts {
  readonly clock: Clock;
  readonly log: {
    error(error: VifdError, vif: undefined): void;
    mended(error: VifdError, vif: undefined): void;
  };
}

/** Reports vifs whose worker does not respond: no other worker may serve them meanwhile. */
export class ResponseWatch {
  readonly #clock: Clock;
  readonly #faults: Faults;
  /** When each worker last responded. One that was asked about many vifs responds to one after the other. */
  readonly #respondedMs = new WeakMap<RunningWorker, number>();

  constructor({ clock, log }: ResponseWatchParts) {
    this.#clock = clock;
    this.#faults = new Faults({
      onBegin: (error) => log.error(error, undefined),
      onEnd: (error) => log.mended(error, undefined),
    });
  }

  get faults(): readonly VifdError[] {
    return this.#faults.all;
  }

  /** Resolves and rejects as `response`, what the worker was asked about a vif. */
  async watch<T>(worker: RunningWorker, id: VifId, response: Promise<T>): Promise<T> {
    const askedMs = this.#clock.now();
    const look = () => {
      const sinceMs = Math.max(askedMs, this.#respondedMs.get(worker) ?? 0);
      const leftMs = sinceMs + SILENT_MS - this.#clock.now();
      if (leftMs > 0) timer = this.#clock.after(leftMs, look);
      else this.#faults.begin(id, silent(worker, id));
    };
    let timer = this.#clock.after(SILENT_MS, look);
    try {
      return await response;
    } finally {
      this.#respondedMs.set(worker, this.#clock.now());
      timer[Symbol.dispose]();
      this.#faults.end(id);
    }
  }
}

function silent(worker: RunningWorker, id: VifId): VifdError {
  const message =
    `${id} is not served yet: its worker (process ${worker.pid}) has not responded for ${SILENT_MS / 1000} s. If xenstored is away, ` +
    `it waits for that. Otherwise end it by \`kill -9 ${worker.pid}\`: another one takes over all its vifs.`;
  return new VifdError('ERR_WORKER', message, { vif: id });
}
