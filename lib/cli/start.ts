/**
 * `vifd run` and its workers, and nothing else: what scripts/bundle.mjs makes one file of, since loading the modules one by one takes
 * longer than all the rest of a start. Every gap after a kill is mostly a start.
 */

import { parseRunOptions } from '../daemon/run-options.js';
import type { CodeCache } from '../host/code-cache.js';
import type { Rehearsal } from '../workers/warm-up.js';
import { runWorker } from '../workers/worker-process.js';
import { fail, pauseIfManaged } from './fail.js';
import { runWith } from './run.js';

/**
 * @param rehearsal loads dist/rehearsal.bundle, if it was made.
 * @returns false, having done nothing, for arguments that are not plainly `run` or `worker` with good options.
 */
export function start(
  [verb, ...args]: readonly string[],
  code?: CodeCache,
  rehearsal?: () => Rehearsal | undefined,
): boolean {
  const options = verb === 'run' || verb === 'worker' ? parseRunOptions(args) : undefined;
  if (options === undefined) return false;
  const running = verb === 'run' ? runWith(options, code) : runWorker(options, rehearsal, code);
  running.catch((error: unknown) => {
    process.exitCode = fail(error);
    pauseIfManaged();
  });
  return true;
}
