import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Check } from './check-result.js';
import { errnoOf } from './files.js';

/** f_type of statfs(2), linux/magic.h. */
const TMPFS_MAGIC = 0x01021994;

/** Checks the directory of the journals, which must outlive the process but not the host. */
export function runtimeCheck(root: string, directory: string): Check {
  const name = 'runtime directory';
  const path = `${root}${directory}`;
  const errno = writeError(path);
  if (errno !== undefined) {
    const remedy = 'run as root, or name another directory with `--journal`';
    return { name, state: 'missing', found: `${directory} cannot be written (${errno})`, remedy };
  }
  if (statfsSync(existing(path)).type !== TMPFS_MAGIC) {
    const remedy = 'name one below /run with `--journal`';
    const found = `${directory} is not on a tmpfs: writing to it is slow, and outlives the guests`;
    return { name, state: 'warn', found, remedy };
  }
  return { name, state: 'ok', found: `${directory}${existsSync(path) ? '' : ', not made yet'}` };
}

function writeError(path: string): string | undefined {
  try {
    const there = existing(path);
    if (!statSync(there).isDirectory()) return 'ENOTDIR';
    accessSync(there, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return errnoOf(error);
  }
}

/** Returns the folder itself, or the nearest existing one above it. */
function existing(path: string): string {
  return existsSync(path) ? path : existing(dirname(path));
}
