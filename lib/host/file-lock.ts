import { addon } from '../addon.js';

/** A lock that ends with the process, however that ends. */
export interface FileLock extends Disposable {
  /** False when its file was deleted or replaced: from then on it keeps no other process out. */
  readonly stands: boolean;
}

/**
 * Takes the lock of a file, which is made if it is missing.
 * @param byte takes the lock of this byte alone, which need not be in the file.
 * @returns the process that has it, or -errno, when it cannot be had.
 */
export function takeFileLock(path: string, byte?: number): FileLock | number {
  const holder = addon().lockFile(path, byte);
  if (holder !== 0) return holder;
  return {
    // What cannot be looked at now is not known to be gone.
    get stands() {
      return addon().lockStands(path, byte) !== 0;
    },
    [Symbol.dispose]: () => void addon().unlockFile(path, byte),
  };
}
