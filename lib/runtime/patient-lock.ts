import { VifdError } from '../errors.js';
import type { FileLock } from '../host/file-lock.js';
import { lockGone, takeRunLock } from '../host/run-lock.js';
import type { Clock } from '../xen/seam.js';
import { type FaultLog, Insist } from './insist.js';

/** How often a running vifd checks that its files in the runtime directory still exist. */
export const LOOK_MS = 500;

/**
 * The lock of the runtime directory. If it cannot be taken, for lack of space or rights, or if its file is deleted later, vifd serves guests
 * all the same, reports the error and tries again until it has the lock. If a second vifd has taken the lock by then, that one keeps
 * the lock.
 */
export class PatientLock implements Disposable {
  readonly #directory: string;
  readonly #insist: Insist;
  readonly #clock: Clock;
  #lock: FileLock | undefined;
  #looking: Disposable | undefined;
  #onTaken: ((directory: string, lock: this) => void) | undefined;

  /** @throws VifdError ERR_RUNNING; ERR_ARGUMENT for a directory that others can write. */
  constructor(directory: string, clock: Clock, log: FaultLog) {
    this.#directory = directory;
    this.#clock = clock;
    this.#insist = new Insist(clock, log, () => this.#take());
    try {
      this.#take();
    } catch (error) {
      // These errors end vifd only at its start, never while it serves guests.
      if (!(error instanceof VifdError) || error.code !== 'ERR_JOURNAL') throw error;
      this.#insist.run();
    }
    this.#lookLater();
  }

  /** Whether this process has the lock, so that no other vifd uses the directory. */
  get stands(): boolean {
    return this.#lock?.stands === true;
  }

  /** @param onTaken runs once, at once or as soon as this process has the lock. */
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
    // This attempt reports the loss; the next one takes the lock.
    if (isGone) throw lockGone(this.#directory);
    this.#lock = takeRunLock(this.#directory);
    this.#onTaken?.(this.#directory, this);
    this.#onTaken = undefined;
  }
}
