import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CodeCache } from '../../host/code-cache.js';
import type { Check } from './check-result.js';
import { errnoOf } from './files.js';

/** A file has 0.7 MB on each Node; the writer needs room for two. */
const ROOM_BYTES = 4 << 20;

/** Checks whether `vifd run` starts with V8's compiled code. Without it each start, and so each gap after a kill, is longer. */
export function codeCacheCheck(code: CodeCache | undefined): Check {
  if (code === undefined)
    return unused('dist/run.bundle is missing, so vifd loads its modules one by one', 'install vifd again');
  const { file, problem } = code;
  if (file === undefined || code.state === 'unsafe') return unused(problem!.found, problem!.remedy);
  if (code.state === 'used') return { name: NAME, state: 'ok', found: file };
  const why = problem?.found ?? `${file} is missing`;
  const obstacle = writeObstacle(dirname(file));
  if (obstacle !== undefined) return unused(`${why}, and cannot be written (${obstacle})`, OBSTACLE_REMEDY);
  if (problem !== undefined) return unused(problem.found, problem.remedy);
  const found = `none for Node ${process.version} yet: vifd run writes one when it has served a guest for 5 s`;
  return { name: NAME, state: 'ok', found };
}

const NAME = 'code cache';
const OBSTACLE_REMEDY =
  'make that directory writable for vifd run, free some space, or name another one by VIFD_CODE_CACHE';

function unused(why: string, remedy: string): Check {
  return { name: NAME, state: 'warn', found: `not used, so starts take longer: ${why}`, remedy };
}

/** @returns an errno's name. */
function writeObstacle(directory: string): string | undefined {
  const nearest = existing(directory);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
    const { bavail, bsize } = statfsSync(nearest);
    return bavail * bsize < ROOM_BYTES ? 'ENOSPC' : undefined;
  } catch (error) {
    return errnoOf(error);
  }
}

/** Returns the folder itself, or the nearest existing one above it. */
function existing(path: string): string {
  return existsSync(path) ? path : existing(dirname(path));
}
