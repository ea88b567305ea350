import { VifdError } from '../errors.js';
import { type RunLock, takeRunLock } from '../run-lock.js';
import type { Clock } from '../xen/types.js';
import { Insist } from './insist.js';
import type { EventLog } from './run-log.js';

/**
 * The lock of the runtime directory. Where it cannot be had, for want of room or rights, guests are served all the same: that is
 * reported, and the lock is tried again until it is there.
 */
export class PatientLock implements Disposable {
  readonly #directory: string;
  readonly #insist: Insist;
  #lock: RunLock | undefined;
  #onTaken: ((directory: string) => void) | undefined;

  /** @throws VifdError ERR_RUNNING; ERR_ARGUMENT for a directory that others can write. */
  constructor(directory: string, clock: Clock, log: Pick<EventLog, 'error' | 'mended'>) {
    this.#directory = directory;
    this.#insist = new Insist(clock, log, () => this.#take());
    try {
      this.#take();
    } catch (error) {
      // Later none of these ends a process that serves.
      if (!(error instanceof VifdError) || error.code !== 'ERR_JOURNAL') throw error;
      this.#insist.run();
    }
  }

  /** @param onTaken runs once, as soon as the lock is there: at once or later. */
  whenTaken(onTaken: (directory: string) => void): void {
    this.#onTaken = onTaken;
    if (this.#lock !== undefined) onTaken(this.#directory);
  }

  [Symbol.dispose](): void {
    this.#insist[Symbol.dispose]();
    this.#lock?.[Symbol.dispose]();
  }

  #take(): void {
    this.#lock = takeRunLock(this.#directory);
    this.#onTaken?.(this.#directory);
  }
}
