import type { EventLog } from '../daemon/run-log.js';
import { VifdError } from '../errors.js';
import { Insist } from '../runtime/insist.js';
import type { Clock } from '../xen/seam.js';
import type { WorkerSocket } from './worker-socket.js';

/** How often a worker checks that its socket is still there. */
const LOOK_MS = 500;

export interface LastingSocketParts {
  readonly clock: Clock;
  readonly log: Pick<EventLog, 'error' | 'mended'>;
  /** Creates the socket. @throws VifdError ERR_WORKER. */
  readonly open: () => WorkerSocket;
}

/**
 * Keeps a worker's socket there. If it cannot be created, or is deleted later, the worker serves all the same, reports that, and tries again
 * until it exists: without it the next supervisor does not find the worker.
 */
export class LastingSocket implements Disposable {
  readonly #parts: LastingSocketParts;
  readonly #insist: Insist;
  #socket: WorkerSocket | undefined;
  #looking: Disposable | undefined;

  constructor(parts: LastingSocketParts) {
    this.#parts = parts;
    this.#insist = new Insist(parts.clock, parts.log, () => this.#open());
    void this.#insist.run();
    this.#lookLater();
  }

  [Symbol.dispose](): void {
    this.#looking?.[Symbol.dispose]();
    this.#insist[Symbol.dispose]();
    this.#socket?.[Symbol.dispose]();
    this.#socket = undefined;
  }

  #open(): void {
    this.#socket = this.#parts.open();
  }

  #lookLater(): void {
    this.#looking = this.#parts.clock.after(LOOK_MS, () => {
      const socket = this.#socket;
      if (socket?.stands === false) {
        this.#socket = undefined;
        socket[Symbol.dispose]();
        this.#insist.fail(gone());
      }
      this.#lookLater();
    });
  }
}

function gone(): VifdError {
  const message =
    `The socket of worker ${process.pid} was deleted from the runtime directory while it runs, so that the next vifd would not find it; ` +
    'the worker creates it again.';
  return new VifdError('ERR_WORKER', message);
}
