import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { VifdError } from '../errors.js';
import { type FileLock, takeFileLock } from './file-lock.js';
import { makeRuntimeDirectory, unusable } from './runtime-directory.js';

/**
 * Takes a runtime directory, which is made if it is missing. One vifd serves from it at a time: two would respond to the same requests.
 * The lock ends with the process, however that ends.
 * @throws VifdError ERR_RUNNING when another process has it; ERR_ARGUMENT when other users can write it; ERR_JOURNAL when it
 * cannot be used.
 */
export function takeRunLock(directory: string): FileLock {
  makeRuntimeDirectory(directory);
  const lock = takeFileLock(lockPath(directory));
  if (typeof lock !== 'number') return lock;
  if (lock < 0) throw unusable(directory, errnoName(lock));
  throw new VifdError(
    'ERR_RUNNING',
    `Another vifd (process ${lock}) serves from ${directory}: end it first, or name another directory by --journal.`,
  );
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
