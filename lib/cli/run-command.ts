import { Command } from 'commander';
import type { RunOptions } from '../daemon/option-table.js';
import { run } from '../daemon/run.js';
import { pauseIfManaged } from './fail.js';
import { addRunOptions } from './options.js';

export function runCommand(): Command {
  const command = new Command('run').description(
    'serve the vifs of this domain in the foreground; SIGTERM detaches and leaves guests connected, SIGHUP changes nothing',
  );
  return addRunOptions(command).action(async (options: RunOptions) => {
    try {
      await run(options);
    } catch (error) {
      pauseIfManaged();
      throw error;
    }
  });
}
