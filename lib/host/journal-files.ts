import { lstatSync, mkdirSync, readdirSync, type Stats, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { isJournalOf, type JournalPages, type Journals } from '../durable/journal.js';
import { hostRemedy, VifdError } from '../errors.js';

/**
 * Journals as memory-mapped files below `directory`, which is made if it is missing. On a tmpfs (`/run`) they survive
 * the process and not the machine, as the guests' rings do. Where other users can
 * write there they can write journals: `vifd run` refuses such a directory (`makeRuntimeDirectory`).
 */
export function journalFiles(directory: string): Journals {
  const pathOf = (name: string) => join(directory, `${name}${ENDING}`);
  return {
    open: (name, bytes) => openPages(directory, pathOf(name), bytes),
    names: (vif) => namesIn(directory).filter((name) => isJournalOf(vif, name)),
    remove: (name) => remove(pathOf(name)),
  };
}

const ENDING = '.journal';

/** The names of the journals in a folder; of one that is not there, none. */
export function namesIn(directory: string): string[] {
  try {
    const files = readdirSync(directory).filter((file) => file.endsWith(ENDING));
    return files.map((file) => file.slice(0, -ENDING.length));
  } catch {
    return [];
  }
}

/** Nothing that `open` made is there; or the disk is read-only, and what stays there names a connection that is over. */
const HARMLESS = ['ENOENT', 'ENOTDIR', 'EISDIR', 'EROFS'];

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!HARMLESS.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function openPages(directory: string, path: string, bytes: number): JournalPages {
  const failed = (errno: string) =>
    new VifdError(
      'ERR_JOURNAL',
      `Journal ${path} cannot be used (${errno}): a kill may then cost its guest frames. ${remedyOf(errno)}; it is tried again.`,
      {
        errno,
      },
    );
  let cut: boolean;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    cut = isCut(path, bytes);
    if (cut) unlinkSync(path);
  } catch (error) {
    throw failed((error as NodeJS.ErrnoException).code ?? 'EIO');
  }
  const pages = addon().mapFile(path, bytes);
  if (typeof pages === 'number') throw failed(errnoName(pages));
  const journal = new Uint8Array(pages.buffer);
  // Not zero, and no journal's magic: whoever reads it begins it anew and says so.
  if (cut) journal.fill(0xff, 0, 4);
  const inode = fileAt(path)?.ino;
  return {
    bytes: journal,
    lost: () => {
      const file = fileAt(path);
      // Another file of that name has another number.
      if (file === undefined || file.ino !== inode) return `Journal ${path} was deleted while it was in use`;
      const whole = file.size === bytes && !pages.cut();
      return whole ? undefined : `Journal ${path} was truncated while it was in use, and frames may be lost`;
    },
    // munmap(2) of whole mappings does not fail.
    close: () => void pages.unmap(),
  };
}

function fileAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    // A part of its path is no directory, or may not be entered any more.
    return undefined;
  }
}

/** What to do about a journal that cannot be opened. */
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

/** Whether a file has another length than a journal's: its head may be whole, and frames that it lists missing. */
function isCut(path: string, bytes: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && found.size !== 0 && found.size !== bytes;
}
