import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { countersNameOf, isJournalOf, type JournalPages, type Journals } from '../durable/journal.js';
import { headOfUnusable } from '../durable/journal-head.js';
import { hostRemedy, VifdError } from '../errors.js';

/**
 * Returns journals that are memory-mapped files in `directory`. A missing directory is created. On a tmpfs (`/run`) journals
 * survive the process and not the host, as the guests' rings do. Users who can write to the directory can write
 * journals: `vifd run` refuses a directory that other users can write (`makeRuntimeDirectory`).
 */
export function journalFiles(directory: string): Journals {
  const pathOf = (name: string) => join(directory, `${name}${ENDING}`);
  return {
    open: (name, bytes, otherBytes = []) => openPages(directory, pathOf(name), bytes, otherBytes),
    replace: (name, content) => replace(directory, pathOf(name), content),
    names: (vif) => namesIn(directory).filter((name) => isJournalOf(vif, name)),
    remove: (name) => {
      remove(pathOf(name));
      remove(`${pathOf(name)}${NEW_ENDING}`);
    },
  };
}

const ENDING = '.journal';
/** The ending of a file that is to replace a journal. A kill may leave such a file; the next `replace` or `remove` deletes it. */
const NEW_ENDING = '.new';

/** Returns the names of the journals in a folder; none if there is no folder. */
export function namesIn(directory: string): string[] {
  try {
    const files = readdirSync(directory).filter((file) => file.endsWith(ENDING));
    return files.map((file) => file.slice(0, -ENDING.length));
  } catch {
    return [];
  }
}

/**
 * Errnos after which there is nothing to delete: there is no file that `open` created; or the disk is read-only, and the file that stays
 * belongs to a connection that is over.
 */
const HARMLESS = ['ENOENT', 'ENOTDIR', 'EISDIR', 'EROFS'];

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!HARMLESS.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function replace(directory: string, path: string, content: Uint8Array): void {
  const made = `${path}${NEW_ENDING}`;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    remove(made);
    writeFileSync(made, content, { mode: 0o600, flag: 'wx' });
    renameSync(made, path);
  } catch (error) {
    unusable(path, errnoOf(error));
  }
}

function hasCounters(path: string): boolean {
  return path.endsWith(`${countersNameOf('')}${ENDING}`);
}

/** @throws VifdError ERR_JOURNAL. */
function unusable(path: string, errno: string): never {
  const cost = hasCounters(path)
    ? 'its counters end with this process'
    : 'a kill may then cost its guest frames';
  const message = `Journal ${path} cannot be used (${errno}): ${cost}. ${remedyOf(errno)}; it is tried again.`;
  throw new VifdError('ERR_JOURNAL', message, { errno });
}

function errnoOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'EIO';
}

function openPages(
  directory: string,
  path: string,
  newBytes: number,
  otherBytes: readonly number[],
): JournalPages {
  let bytes = newBytes;
  let head: Uint32Array | undefined;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const found = sizeOf(path);
    if (found !== undefined && otherBytes.includes(found)) bytes = found;
    else if (found !== undefined && found !== bytes) {
      head = headFor(path);
      unlinkSync(path);
    }
  } catch (error) {
    unusable(path, errnoOf(error));
  }
  const pages = addon().mapFile(path, bytes);
  if (typeof pages === 'number') unusable(path, errnoName(pages));
  const journal = new Uint8Array(pages.buffer);
  if (head !== undefined) new Uint32Array(pages.buffer).set(head);
  const inode = fileAt(path)?.ino;
  return {
    bytes: journal,
    lost: () => {
      const file = fileAt(path);
      // Another file of that name has another inode number.
      if (file === undefined || file.ino !== inode) return `Journal ${path} was deleted while it was in use`;
      const whole = file.size === bytes && !pages.cut();
      const cost = hasCounters(path) ? '' : ', and frames may be lost';
      return whole ? undefined : `Journal ${path} was truncated while it was in use${cost}`;
    },
    // munmap(2) of whole mappings does not fail.
    close: () => void pages.unmap(),
  };
}

/** @returns the length of a file; undefined if there is none or it is empty. */
function sizeOf(path: string): number | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && found.size !== 0 ? found.size : undefined;
}

/**
 * @returns the first words of the file that replaces one of a wrong length. Such a file is not used: its head may be intact although frames
 *   are missing.
 */
function headFor(path: string): Uint32Array {
  const head = new Uint32Array(2);
  const file = openSync(path, 'r');
  try {
    readSync(file, head, 0, head.byteLength, 0);
  } finally {
    closeSync(file);
  }
  return headOfUnusable(head);
}

function fileAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    // A part of the path is not a directory, or is no longer accessible.
    return undefined;
  }
}

/** Returns what an operator can do about a journal that cannot be opened. */
function remedyOf(errno: string): string {
  switch (errno) {
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
      return capitalised(hostRemedy(errno));
    case 'ENOSPC':
    case 'EDQUOT':
      return "Free space in the directory's file system";
    case 'EISDIR':
    case 'ELOOP':
      return 'Remove what stands in its place';
    case 'EROFS':
      return "Mount the directory's file system writable, or name another directory by --journal";
    default:
      return 'Make the directory writable, or name another by --journal';
  }
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
