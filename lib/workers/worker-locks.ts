import { Backoff } from '../backoff.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { FileLock } from '../host/file-lock.js';
import type { VifLocks } from '../host/vif-locks.js';
import type { VifPlace } from '../netback/vif/directory.js';
import type { VifId } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';

type Locks = Pick<VifLocks, 'take' | 'holder'>;

export interface WorkerLocksParts {
  readonly clock: Clock;
  /** Undefined without a runtime directory: then nothing prevents that two processes serve a vif. */
  readonly locks: Locks | undefined;
  /** Called when another process than the expected one has got the lock of a vif that this worker serves already. */
  readonly onLost: (place: VifPlace, error: VifdError) => void;
}

/** Pauses between attempts to take the lock of a process that ends. */
const FIRST_PAUSE_MS = 1;
const MOST_PAUSE_MS = 64;
/** In the place of a lock where the file cannot be used, and so by no other process either. */
const NONE: FileLock = { stands: false, [Symbol.dispose]: () => {} };
/** The kernel closes the descriptors of a process one by one, so others may still be open when its lock is free. */
const CLOSING_MS = 100;

/**
 * The locks of a worker's vifs. A process that was killed has its locks until the kernel has freed its memory, which takes longer than the next
 * worker needs to serve its vifs. The supervisor knows that it serves no more, so the next worker serves while it waits for these locks.
 */
export class WorkerLocks {
  readonly #parts: WorkerLocksParts;
  readonly #taken = new Map<VifId, { readonly place: VifPlace; lock: FileLock }>();
  readonly #awaited = new Map<VifId, Disposable>();

  constructor(parts: WorkerLocksParts) {
    this.#parts = parts;
  }

  /**
   * If the file of the locks cannot be used, the worker serves without, as `vifd run` does without its run lock: `stand` is false then.
   * @param from a process that serves no more, and whose lock this worker waits for.
   * @throws VifdError ERR_RUNNING or ERR_ARGUMENT as `VifLocks.take`, unless that process has the lock.
   */
  take(place: VifPlace, from: number | undefined): void {
    const { locks } = this.#parts;
    if (locks === undefined) return;
    try {
      this.#taken.set(place.id, { place, lock: locks.take(place) });
    } catch (error) {
      if (isUnusable(error)) {
        this.#taken.set(place.id, { place, lock: NONE });
        return;
      }
      if (from === undefined || !isHeldBy(locks, place, from, error)) throw error;
      this.#await(locks, place, from);
    }
  }

  /** Whether the previous process of a vif still has its lock, and so may have more. */
  isAwaited(id: VifId): boolean {
    return this.#awaited.has(id);
  }

  /** False while a lock is missing. All are in one file, which may be deleted or replaced, and the first one was taken first. */
  get stand(): boolean {
    const all = [...this.#taken.values()];
    return all[0]?.lock.stands !== false && all.every(({ lock }) => lock !== NONE);
  }

  /** Takes those again that do not stand. @throws VifdError as `VifLocks.take`; then it may be called again. */
  takeAgain(): void {
    const { locks } = this.#parts;
    for (const held of this.#taken.values())
      if (!held.lock.stands && locks !== undefined) held.lock = locks.take(held.place);
  }

  release(id: VifId): void {
    this.#stopAwaiting(id);
    this.#taken.get(id)?.lock[Symbol.dispose]();
    this.#taken.delete(id);
  }

  [Symbol.dispose](): void {
    for (const id of [...this.#awaited.keys(), ...this.#taken.keys()]) this.release(id);
  }

  #await(locks: Locks, place: VifPlace, from: number): void {
    const { clock, onLost } = this.#parts;
    const again = () => {
      try {
        this.#taken.set(place.id, { place, lock: locks.take(place) });
        this.#awaited.set(
          place.id,
          clock.after(CLOSING_MS, () => this.#awaited.delete(place.id)),
        );
      } catch (error) {
        if (isHeldBy(locks, place, from, error)) {
          backoff.again();
          return;
        }
        this.#stopAwaiting(place.id);
        if (isUnusable(error)) this.#taken.set(place.id, { place, lock: NONE });
        else onLost(place, vifdErrorOf(error));
      }
    };
    const backoff = new Backoff(clock, again, FIRST_PAUSE_MS, MOST_PAUSE_MS);
    this.#awaited.set(place.id, { [Symbol.dispose]: () => backoff.cancel() });
    backoff.again();
  }

  #stopAwaiting(id: VifId): void {
    this.#awaited.get(id)?.[Symbol.dispose]();
    this.#awaited.delete(id);
  }
}

function isUnusable(error: unknown): boolean {
  return error instanceof VifdError && error.code === 'ERR_JOURNAL' && error.errno !== 'EAGAIN';
}

/** Whether the process still has the lock, or no process has it. @param error of an attempt to take it. */
function isHeldBy(locks: Locks, place: VifPlace, pid: number, error: unknown): boolean {
  if (!(error instanceof VifdError)) return false;
  // It was released between two calls.
  if (error.errno === 'EAGAIN') return true;
  if (error.code !== 'ERR_RUNNING') return false;
  const holder = locks.holder(place);
  return holder === pid || holder === undefined;
}
