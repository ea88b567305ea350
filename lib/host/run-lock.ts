import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { VifdError } from '../errors.js';
import { type FileLock, takeFileLock } from './file-lock.js';
import { makeRuntimeDirectory, unusable } from './runtime-directory.js';

/**
 * Takes the lock of a runtime directory. A missing directory is created. One vifd serves from it at a time, because two would respond to
 * the same requests. The lock ends with the process, after a kill too.
 * @throws VifdError ERR_RUNNING if another process has the lock; ERR_ARGUMENT if other users can write to the directory; ERR_JOURNAL if
 * the directory cannot be used.
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

/** Returns the error to report when the lock's file was deleted or replaced while vifd runs. */
export function lockGone(directory: string): VifdError {
  return new VifdError(
    'ERR_JOURNAL',
    `The run lock ${lockPath(directory)} was deleted while vifd runs, so that a second vifd could start; vifd creates it again.`,
  );
}

/** @returns the id of the vifd process that serves from `directory`; undefined if there is none. */
export function runLockHolder(directory: string): number | undefined {
  const holder = addon().lockHolder(lockPath(directory));
  if (holder < 0 && errnoName(holder) !== 'ENOTDIR') throw unusable(directory, errnoName(holder));
  return holder > 0 ? holder : undefined;
}

function lockPath(directory: string): string {
  return join(directory, 'lock');
}
