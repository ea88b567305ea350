import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { addon, errnoName } from './addon.js';
import { VifdError } from './errors.js';
import { JOURNAL_BYTES, type Journals } from './netback/journal.js';

/**
 * Journals as memory-mapped files below `directory`, which is made if it is missing. On a tmpfs (`/run`) they survive
 * the process and not the machine, as the guests' rings do.
 */
export function journalFiles(directory: string): Journals {
  const pathOf = (name: string) => join(directory, `${name}.journal`);
  return {
    open: (name) => openPage(directory, pathOf(name)),
    remove: (name) => rmSync(pathOf(name), { force: true }),
  };
}

function openPage(directory: string, path: string): Uint8Array {
  const failed = (errno: string) =>
    new VifdError(
      'ERR_JOURNAL',
      `Journal ${path} cannot be used (${errno}): a kill may then cost its guest frames.`,
      {
        errno,
      },
    );
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw failed((error as NodeJS.ErrnoException).code ?? 'EIO');
  }
  const buffer = addon().mapFile(path, JOURNAL_BYTES);
  if (typeof buffer === 'number') throw failed(errnoName(buffer));
  return new Uint8Array(buffer);
}
