import { promises as fs } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** V8's compiled code of a bundle, as lib/vifd.cts found it at the start, in a file that belongs to the running Node. */
export interface CodeCache {
  /** undefined: this user has no cache. */
  readonly file: string | undefined;
  /**
   * `used`: V8 has taken the file's code. `absent`: there is no file. `unsuitable`: there is one, and V8 or vifd does not use it; it may
   * be replaced. `unsafe`: there is no directory that other users cannot write, so nothing is read or written.
   */
  readonly state: 'used' | 'absent' | 'unsuitable' | 'unsafe';
  /** Why the state is `unsuitable` or `unsafe`, and what an operator can do. */
  readonly problem?: CodeProblem;
  /** Returns the file's content: the code of all functions that V8 has compiled so far. Takes V8 about 6 ms. */
  content(): Uint8Array;
  /** Examines the directory again. */
  unsafe(): CodeProblem | undefined;
}

export interface CodeProblem {
  readonly found: string;
  readonly remedy: string;
}

/** So many files of a bundle stay: other versions of Node and of vifd have theirs in the same directory. */
const FILES_MAX = 8;
const WHOLE = '.code';
/** A writer that was killed leaves a file of this name, which is deleted when it is this old. */
const UNFINISHED = '.new';
const UNFINISHED_MS = 60_000;

/**
 * Writes a code cache that is absent or unsuitable. Other processes find the old file or the whole new one, also after a power failure.
 * @returns why it could not be written (an errno's name, such as EROFS or ENOSPC), which costs later starts some ms and nothing else:
 * `vifd check` reports it. undefined: it is written, or there is nothing to write.
 */
export async function storeCode(cache: CodeCache): Promise<string | undefined> {
  const { file } = cache;
  if (file === undefined || !isToBeStored(cache)) return undefined;
  try {
    await fs.mkdir(dirname(file), { recursive: true, mode: 0o755 });
    const problem = cache.unsafe();
    if (problem !== undefined) return problem.found;
    await replace(file, cache.content());
    await removeOld(file);
    return undefined;
  } catch (error) {
    if (error instanceof Error) return (error as NodeJS.ErrnoException).code ?? error.message;
    throw error;
  }
}

/**
 * Returns what `open` returns, with the code of all functions and not only of those that ran: V8 compiles what is opened meanwhile as a
 * whole, which takes 60 ms. Code that is in the cache counts as unsuitable meanwhile, since the flag is part of what V8 checks code by.
 * Without the other flag, V8 would take the code of a bundle that this process has opened before, as it is: functions that did not run are
 * not compiled there.
 */
export function withAllFunctions<T>(open: () => T): T {
  // 5 ms to load, which no start should spend.
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  setFlagsFromString('--no-lazy');
  setFlagsFromString('--no-compilation-cache');
  try {
    return open();
  } finally {
    setFlagsFromString('--compilation-cache');
    setFlagsFromString('--lazy');
  }
}

export function isToBeStored(cache: CodeCache | undefined): cache is CodeCache {
  return cache?.state === 'absent' || cache?.state === 'unsuitable';
}

async function replace(file: string, content: Uint8Array): Promise<void> {
  const unfinished = `${file}.${process.pid}-${process.hrtime.bigint()}${UNFINISHED}`;
  try {
    const handle = await fs.open(unfinished, 'wx', 0o644);
    try {
      // The unit's umask would have other users' `vifd list` do without.
      await handle.chmod(0o644);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(unfinished, file);
  } catch (error) {
    await fs.rm(unfinished, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Deletes the oldest files of this bundle beyond FILES_MAX, and what killed writers have left. */
async function removeOld(file: string): Promise<void> {
  const directory = dirname(file);
  const [bundle] = basename(file).split('-');
  const names = (await fs.readdir(directory)).filter((name) => name.startsWith(`${bundle}-`));
  const aged = (await Promise.all(names.map((name) => agedFile(join(directory, name))))).filter(
    (found) => found !== undefined,
  );
  const newestFirst = aged.sort((a, b) => b.changedMs - a.changedMs);
  const others = newestFirst.filter(({ path }) => path.endsWith(WHOLE) && path !== file);
  // By the file system's clock: `file` was written just now.
  const nowMs = newestFirst.find(({ path }) => path === file)?.changedMs ?? 0;
  const unfinished = newestFirst.filter(
    ({ path, changedMs }) => path.endsWith(UNFINISHED) && changedMs < nowMs - UNFINISHED_MS,
  );
  for (const { path } of [...others.slice(FILES_MAX - 1), ...unfinished]) await fs.rm(path, { force: true });
}

/** @returns undefined if another process has deleted it meanwhile. */
async function agedFile(path: string): Promise<{ path: string; changedMs: number } | undefined> {
  try {
    return { path, changedMs: (await fs.lstat(path)).mtimeMs };
  } catch {
    return undefined;
  }
}
