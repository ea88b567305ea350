import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { addon, errnoName } from '../addon.js';
import { hostRemedy, VifdError } from '../errors.js';

/**
 * Returns the descriptor of a page through which another process shows that it runs. It belongs to the caller. Each process needs a page of
 * its own.
 * @throws VifdError ERR_STATE with the errno.
 */
export function makeLiveness(): number {
  const descriptor = addon().makeLiveness();
  if (descriptor < 0) throw failed('The page of liveness cannot be made', descriptor);
  return descriptor;
}

/**
 * Shows by a page that this process runs. The kernel marks the page when the main thread begins to end, which is before it frees the process's
 * memory: `watchDeath` sees the death some milliseconds before the process is gone. Call it in the main thread. It also switches this
 * process's core dumps off: the kernel would write one first.
 * @param descriptor of `makeLiveness`; may be closed afterwards.
 * @throws VifdError ERR_STATE with the errno: EBUSY if a process has taken the page before.
 */
export function holdLiveness(descriptor: number): void {
  const taken = addon().holdLiveness(descriptor);
  if (taken < 0) throw failed('The page of liveness cannot be taken', taken);
}

const { ENOSYS, EPERM, ESRCH } = constants.errno;

export interface Watched {
  readonly pid: number;
  /** Of `makeLiveness`; may be closed once it is watched. A descriptor that came from the process itself is examined. */
  readonly liveness: number;
  /**
   * Called once. `page`: the main thread has ended, or the process claims so: it writes to no ring any more, but it may still have its locks,
   * its event channels and its pid. `process`: the process is gone.
   */
  readonly onDeath: (seenBy: 'page' | 'process') => void;
}

/**
 * Watches for the death of a process, and does not keep this one alive. Whatever the process has written into the page, its end is a second
 * sign (by a pidfd; before Linux 5.3, and where a filter of system calls refuses it, the page is the only one). `onDeath` alone is no reason to serve the process's vifs: send SIGKILL,
 * since the process may only claim to be dead, and wait for their locks.
 * @returns what ends the watch when it is disposed of, which takes up to 1 ms.
 * @throws VifdError ERR_STATE with the errno.
 */
export function watchDeath({ pid, liveness, onDeath }: Watched): Disposable {
  const page = addon().watchLiveness(liveness);
  if (typeof page === 'number')
    throw failed(`The page of liveness of process ${pid} cannot be watched`, page);
  const ends = [() => page.close()];
  const close = () => {
    for (let end = ends.pop(); end !== undefined; end = ends.pop()) end();
  };
  const seen = (by: 'page' | 'process') => {
    close();
    onDeath(by);
  };
  try {
    ends.push(stopOf(page.descriptor, () => seen('page')));
    const end = addon().openProcess(pid);
    if (end >= 0) {
      ends.push(() => closeSync(end));
      ends.push(stopOf(end, () => seen('process')));
    } else if (end === -ESRCH) {
      const immediate = setImmediate(() => seen('process'));
      ends.push(() => clearImmediate(immediate));
    } else if (end !== -ENOSYS && end !== -EPERM) throw failed(`Process ${pid} cannot be watched`, end);
  } catch (error) {
    close();
    throw error;
  }
  return { [Symbol.dispose]: close };
}

/** Calls once `descriptor` can be read, without keeping the process alive. @returns a function that ends that. */
function stopOf(descriptor: number, onReadable: () => void): () => void {
  const stop = addon().watch(descriptor, onReadable, true);
  if (typeof stop === 'number') throw failed('A process cannot be watched', stop);
  return stop;
}

function failed(what: string, error: number): VifdError {
  const errno = errnoName(error);
  return new VifdError('ERR_STATE', `${what} (${errno}): ${hostRemedy(errno)}.`, { errno });
}
