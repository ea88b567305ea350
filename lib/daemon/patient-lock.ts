import { VifdError } from '../errors.js';
import type { FileLock } from '../host/file-lock.js';
import { lockGone, takeRunLock } from '../host/run-lock.js';
import type { Clock } from '../xen/seam.js';
import { Insist } from './insist.js';
import type { EventLog } from './run-log.js';

/** How often to look whether what a running vifd has in its runtime directory is still there. */
export const LOOK_MS = 500;

/**
 * The lock of the runtime directory. Where it cannot be had, for want of room or rights, guests are served all the same: that is
 * reported, and the lock is tried again until it is there. So it is when its file is deleted later; a second vifd that has taken
 * the lock by then is not fought.
 */
export class PatientLock implements Disposable {
  readonly #directory: string;
  readonly #insist: Insist;
  readonly #clock: Clock;
  #lock: FileLock | undefined;
  #looking: Disposable | undefined;
  #onTaken: ((directory: string, lock: this) => void) | undefined;

  /** @throws VifdError ERR_RUNNING; ERR_ARGUMENT for a directory that others can write. */
  constructor(directory: string, clock: Clock, log: Pick<EventLog, 'error' | 'mended'>) {
    this.#directory = directory;
    this.#clock = clock;
    this.#insist = new Insist(clock, log, () => this.#take());
    try {
      this.#take();
    } catch (error) {
      // Later none of these ends a process that serves.
      if (!(error instanceof VifdError) || error.code !== 'ERR_JOURNAL') throw error;
      this.#insist.run();
    }
    this.#lookLater();
  }

  /** No other vifd may use the directory. */
  get stands(): boolean {
    return this.#lock?.stands === true;
  }

  /** @param onTaken runs once, as soon as the lock is there: at once or later. */
  whenTaken(onTaken: (directory: string, lock: this) => void): void {
    if (this.#lock === undefined) this.#onTaken = onTaken;
    else onTaken(this.#directory, this);
  }

  [Symbol.dispose](): void {
    this.#looking?.[Symbol.dispose]();
    this.#insist[Symbol.dispose]();
    this.#lock?.[Symbol.dispose]();
  }

  #lookLater(): void {
    this.#looking = this.#clock.after(LOOK_MS, () => {
      if (this.#lock?.stands === false) this.#insist.run();
      this.#lookLater();
    });
  }

  #take(): void {
    const isGone = this.#lock?.stands === false;
    this.#lock = undefined;
    // Reported first, and taken at the next try.
    if (isGone) throw lockGone(this.#directory);
    this.#lock = takeRunLock(this.#directory);
    this.#onTaken?.(this.#directory, this);
    this.#onTaken = undefined;
  }
}
