import { existsSync } from 'node:fs';
import { runLockHolder } from '../host/run-lock.js';
import { workersIn } from '../workers/worker-socket.js';
import type { Check } from './checks/check-result.js';

/**
 * Checks whether workers serve without a supervisor: then nothing notices a new vif, nor the death of a worker. No line where there are no
 * workers.
 * @param directory the runtime directory.
 */
export function workersCheck(root: string, directory: string): Check[] {
  const path = `${root}${directory}`;
  if (!existsSync(path)) return [];
  const name = 'workers';
  try {
    const workers = workersIn(path).filter((pid) => existsSync(`${root}/proc/${pid}`));
    if (workers.length === 0) return [];
    const supervisor = runLockHolder(path);
    const found = `${workers.length} ${workers.length === 1 ? 'process' : 'processes'}`;
    if (supervisor !== undefined) return [{ name, state: 'ok', found: `${found} of ${supervisor}` }];
    const remedy =
      'start `vifd run --workers`, which continues with them; SIGTERM to each of them ends them in order';
    return [{ name, state: 'warn', found: `${found} without a vifd run: ${workers.join(', ')}`, remedy }];
  } catch (error) {
    const remedy = 'run the command as the user of `vifd run`';
    return [{ name, state: 'warn', found: (error as Error).message, remedy }];
  }
}
