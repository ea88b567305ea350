import type { RunOptions } from '../daemon/option-table.js';
import { run } from '../daemon/run.js';
import type { CodeCache } from '../host/code-cache.js';
import { endEarlier } from '../workers/end-earlier.js';
import { supervise } from '../workers/supervise.js';

/** Runs `vifd run`, in this process alone or with workers. @param code of the file that this was started from, if it was one. */
export function runWith(options: RunOptions, code?: CodeCache): Promise<void> {
  return options.workers === 0 ? run(options, endEarlier, code) : supervise(options);
}
