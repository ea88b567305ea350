import { Command, InvalidArgumentError, Option } from 'commander';
import { run } from '../daemon/run.js';
import { defaultQueues, PAYLOADS, parseQueues, type RunOptions } from '../daemon/run-options.js';
import { QUEUES_MAX } from '../netback/settings.js';
import { isInterfaceName } from '../ports/tap-options.js';
import { pauseIfManaged } from './fail.js';
import { journalOption, librariesOption, storeOption } from './options.js';

export function runCommand(): Command {
  return new Command('run')
    .description(
      'serve the vifs of this domain in the foreground; SIGTERM detaches and leaves guests connected, SIGHUP changes nothing',
    )
    .addOption(
      new Option('--payload <mode>', 'how frames cross: copy them, or map the guest pages')
        .choices(PAYLOADS)
        .default(PAYLOADS[0]),
    )
    .addOption(
      new Option(
        '--queues <n>',
        'queues that a guest may have (default: as many as there are CPUs, at most 8)',
      )
        .argParser(queuesOf)
        .default(defaultQueues(), ''),
    )
    .option('--bridge <name>', 'put taps into this bridge (for vifs without a hotplug script)', bridgeOf)
    .addOption(journalOption())
    .option('--no-journal', 'do without: a kill in the wrong instant may then cost a guest its device')
    .option('--json', 'events as one JSON object a line')
    .addOption(storeOption())
    .addOption(librariesOption())
    .action(async (options: RunOptions) => {
      try {
        await run(options);
      } catch (error) {
        pauseIfManaged();
        throw error;
      }
    });
}

function bridgeOf(text: string): string {
  if (isInterfaceName(text)) return text;
  throw new InvalidArgumentError('Give 1 to 15 bytes without spaces, slashes, colons or %.');
}

function queuesOf(text: string): number {
  const queues = parseQueues(text);
  if (queues === undefined) throw new InvalidArgumentError(`Give a whole number from 1 to ${QUEUES_MAX}.`);
  return queues;
}
