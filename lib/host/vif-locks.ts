import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { VifdError } from '../errors.js';
import { type FileLock, takeFileLock } from './file-lock.js';
import { makeRuntimeDirectory, unusable } from './runtime-directory.js';

/** A vif as the locks know it. */
export interface LockedVif {
  /** `vif7.0`, for messages. */
  readonly id: string;
  readonly domid: number;
  readonly handle: number;
}

/** As many bytes of the file belong to a domain. */
const HANDLES = 2 ** 32;
/** DOMID_FIRST_RESERVED (xen/include/public/xen.h). */
const DOMAINS = 0x7ff0;

/**
 * One process serves a vif at a time: two would respond to the same requests. Processes that share a runtime directory lock a byte of
 * one file for each of their vifs, so that vifs can be divided among them and move one by one.
 */
export class VifLocks {
  readonly #directory: string;
  readonly #path: string;

  /**
   * @param directory the runtime directory, which is made if it is missing.
   * @throws VifdError ERR_ARGUMENT when other users can write it; ERR_JOURNAL when it cannot be used.
   */
  constructor(directory: string) {
    makeRuntimeDirectory(directory);
    this.#directory = directory;
    this.#path = join(directory, 'vifs.lock');
  }

  /**
   * Takes the lock of a vif. It ends with the process, however that ends.
   * @throws VifdError ERR_RUNNING when a process has it, this one too; ERR_JOURNAL, with the errno, when the file cannot be used.
   */
  take(vif: LockedVif): FileLock {
    const lock = takeFileLock(this.#path, byteOf(vif));
    if (typeof lock !== 'number') return lock;
    if (lock < 0) throw unusable(this.#directory, errnoName(lock));
    const { id } = vif;
    const message = `Another vifd (process ${lock}) serves ${id} from ${this.#directory}: end it first.`;
    throw new VifdError('ERR_RUNNING', message, { vif: id });
  }

  /**
   * Returns the process that serves a vif; undefined when there is none.
   * @throws VifdError ERR_JOURNAL, with the errno, when the file cannot be looked at.
   */
  holder(vif: LockedVif): number | undefined {
    const holder = addon().lockHolder(this.#path, byteOf(vif));
    if (holder < 0) throw unusable(this.#directory, errnoName(holder));
    return holder > 0 ? holder : undefined;
  }
}

/** @throws VifdError ERR_ARGUMENT for what is no vif: its byte would be another one's. */
function byteOf({ id, domid, handle }: LockedVif): number {
  const isVif = isBelow(domid, DOMAINS) && isBelow(handle, HANDLES);
  if (!isVif) throw new VifdError('ERR_ARGUMENT', `${id} is no vif that can be locked.`, { vif: id });
  return domid * HANDLES + handle;
}

function isBelow(value: number, end: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < end;
}
