import { addon } from '../addon.js';

/** A lock that ends with the process, after a kill too. */
export interface FileLock extends Disposable {
  /** False once its file was deleted or replaced: from then on the lock excludes no other process. */
  readonly stands: boolean;
}

/**
 * Takes the lock of a file. A missing file is created.
 * @param byte locks this byte only; the file may be shorter.
 * @returns the lock; or the id of the process that has it; or -errno.
 */
export function takeFileLock(path: string, byte?: number): FileLock | number {
  const holder = addon().lockFile(path, byte);
  if (holder !== 0) return holder;
  return {
    // An error says nothing about the file, so the lock counts as standing.
    get stands() {
      return addon().lockStands(path, byte) !== 0;
    },
    [Symbol.dispose]: () => void addon().unlockFile(path, byte),
  };
}
