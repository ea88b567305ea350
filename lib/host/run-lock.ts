import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { VifdError } from '../errors.js';
import { makeRuntimeDirectory, unusable } from './runtime-directory.js';

/** One vifd serves from a directory at a time: two would answer the same requests. */
export interface RunLock extends Disposable {
  readonly directory: string;
  /** False when its file was deleted or replaced: from then on it keeps no other vifd out. */
  readonly stands: boolean;
}

/**
 * Takes a runtime directory, which is made if it is missing. The lock ends with the process, however that ends.
 * @throws VifdError ERR_RUNNING when another process has it; ERR_ARGUMENT when other users can write it; ERR_JOURNAL when it
 * cannot be used.
 */
export function takeRunLock(directory: string): RunLock {
  makeRuntimeDirectory(directory);
  const path = lockPath(directory);
  const holder = addon().lockFile(path);
  if (holder < 0) throw unusable(directory, errnoName(holder));
  if (holder > 0) {
    throw new VifdError(
      'ERR_RUNNING',
      `Another vifd (process ${holder}) serves from ${directory}: end it first, or name another directory by --journal.`,
    );
  }
  return {
    directory,
    // What cannot be looked at now is not known to be gone.
    get stands() {
      return addon().lockStands(path) !== 0;
    },
    [Symbol.dispose]: () => void addon().unlockFile(path),
  };
}

/** The lock of a directory was deleted or replaced beneath the vifd that had it. */
export function lockGone(directory: string): VifdError {
  return new VifdError(
    'ERR_JOURNAL',
    `The run lock ${lockPath(directory)} was deleted while vifd runs, and a second vifd could start: it is made again.`,
  );
}

/** @returns the process of the vifd that serves from `directory`; undefined when there is none. */
export function runLockHolder(directory: string): number | undefined {
  const holder = addon().lockHolder(lockPath(directory));
  if (holder < 0 && errnoName(holder) !== 'ENOTDIR') throw unusable(directory, errnoName(holder));
  return holder > 0 ? holder : undefined;
}

function lockPath(directory: string): string {
  return join(directory, 'lock');
}
