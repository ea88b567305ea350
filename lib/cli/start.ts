/**
 * `vifd run` and nothing else: what scripts/bundle.mjs makes one file of, since loading the modules one by one takes
 * longer than all the rest of a start. Every gap after a kill is mostly a start.
 */

import { run } from '../daemon/run.js';
import { parseRunOptions } from '../daemon/run-options.js';
import type { CodeCache } from '../host/code-cache.js';
import { fail, pauseIfManaged } from './fail.js';

/** @returns false, having done nothing, for arguments that are not plainly `run` with good options. */
export function start([verb, ...args]: readonly string[], code?: CodeCache): boolean {
  const options = verb === 'run' ? parseRunOptions(args) : undefined;
  if (options === undefined) return false;
  run(options, code).catch((error: unknown) => {
    process.exitCode = fail(error);
    pauseIfManaged();
  });
  return true;
}
