import { VifdError } from '../errors.js';
import { Backoff } from '../netback/backoff.js';
import { Faults } from '../netback/faults.js';
import { type RunLock, takeRunLock } from '../run-lock.js';
import type { Clock } from '../xen/types.js';
import type { EventLog } from './run-log.js';

/**
 * The lock of the runtime directory. Where it cannot be had, for want of room, guests are served all the same: that is reported,
 * and the lock is tried again until it is there.
 */
export class PatientLock implements Disposable {
  readonly #directory: string;
  readonly #faults: Faults;
  readonly #retry: Backoff;
  #lock: RunLock | undefined;
  #onTaken: ((directory: string) => void) | undefined;

  /** @throws VifdError ERR_RUNNING; ERR_ARGUMENT for a directory that others can write. */
  constructor(directory: string, clock: Clock, log: Pick<EventLog, 'error' | 'mended'>) {
    this.#directory = directory;
    this.#faults = new Faults({
      onBegin: (error) => log.error(error, undefined),
      onEnd: (error) => log.mended(error, undefined),
    });
    this.#retry = new Backoff(clock, () => this.#again());
    this.#take();
  }

  /** @param onTaken runs once, as soon as the lock is there: at once or later. */
  whenTaken(onTaken: (directory: string) => void): void {
    this.#onTaken = onTaken;
    if (this.#lock !== undefined) onTaken(this.#directory);
  }

  [Symbol.dispose](): void {
    this.#retry.cancel();
    this.#lock?.[Symbol.dispose]();
  }

  #take(): void {
    try {
      this.#lock = takeRunLock(this.#directory);
    } catch (error) {
      if (!(error instanceof VifdError) || error.code !== 'ERR_JOURNAL') throw error;
      this.#faults.begin('lock', error);
      this.#retry.again();
      return;
    }
    this.#faults.end('lock');
    this.#onTaken?.(this.#directory);
  }

  /** Guests are served by now: what would have been a reason not to start is one to report. */
  #again(): void {
    try {
      this.#take();
    } catch (error) {
      this.#faults.begin('lock', error as VifdError);
      this.#retry.again();
    }
  }
}
