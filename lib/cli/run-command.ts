import { Command } from 'commander';
import type { RunOptions } from '../daemon/option-table.js';
import { runWorker } from '../workers/worker-process.js';
import { pauseIfManaged } from './fail.js';
import { addRunOptions } from './options.js';
import { runWith } from './run.js';

export function runCommand(): Command {
  const command = new Command('run').description(
    'serve the vifs of this domain in the foreground; SIGTERM detaches and leaves guests connected, SIGHUP changes nothing',
  );
  return addRunOptions(command).action(async (options: RunOptions) => {
    try {
      await runWith(options);
    } catch (error) {
      pauseIfManaged();
      throw error;
    }
  });
}

/** The verb with which a supervisor starts its workers; help does not list it. */
export function workerCommand(): Command {
  return addRunOptions(new Command('worker')).action((options: RunOptions) => runWorker(options));
}
