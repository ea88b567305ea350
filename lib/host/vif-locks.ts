import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import { type FileLock, takeFileLock } from './file-lock.js';
import { makeRuntimeDirectory, unusable } from './runtime-directory.js';

/** The part of a vif that its lock needs. */
export interface LockedVif {
  /** `vif7.0`, for messages. */
  readonly id: string;
  readonly domid: number;
  readonly handle: number;
}

/** How many bytes of the file belong to a domain: one for each handle. */
const HANDLES = 2 ** 32;
/** DOMID_FIRST_RESERVED (xen/include/public/xen.h). */
const DOMAINS = 0x7ff0;

/**
 * Ensures that one process at a time serves a vif: two would respond to the same requests. Processes that share a runtime directory lock a
 * byte of one file for each of their vifs, so that vifs can be divided among them and moved one by one.
 */
export class VifLocks {
  readonly #directory: string;
  readonly #path: string;

  /**
   * @param directory the runtime directory; a missing one is created.
   * @throws VifdError ERR_ARGUMENT if other users can write to it. Where it cannot be used, the methods throw that.
   */
  constructor(directory: string) {
    try {
      makeRuntimeDirectory(directory);
    } catch (error) {
      if (vifdErrorOf(error).code !== 'ERR_JOURNAL') throw error;
    }
    this.#directory = directory;
    this.#path = join(directory, 'vifs.lock');
  }

  /**
   * Takes the lock of a vif. The lock ends with the process, after a kill too.
   * @throws VifdError ERR_RUNNING if a process (this one too) has the lock; ERR_JOURNAL, with the errno, if the file cannot be used.
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
   * Returns the id of the process that serves a vif; undefined if there is none.
   * @throws VifdError ERR_JOURNAL, with the errno, if the file cannot be read.
   */
  holder(vif: LockedVif): number | undefined {
    return this.#holder(byteOf(vif));
  }

  /** Returns the id of a process that serves any vif; undefined if there is none. @throws VifdError as `holder`. */
  anyHolder(): number | undefined {
    return this.#holder();
  }

  #holder(byte?: number): number | undefined {
    const holder = addon().lockHolder(this.#path, byte);
    if (holder < 0) throw unusable(this.#directory, errnoName(holder));
    return holder > 0 ? holder : undefined;
  }
}

/** @throws VifdError ERR_ARGUMENT for numbers that no vif can have: the byte would belong to another vif. */
function byteOf({ id, domid, handle }: LockedVif): number {
  const isVif = isBelow(domid, DOMAINS) && isBelow(handle, HANDLES);
  if (!isVif) throw new VifdError('ERR_ARGUMENT', `${id} is no vif that can be locked.`, { vif: id });
  return domid * HANDLES + handle;
}

function isBelow(value: number, end: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < end;
}
