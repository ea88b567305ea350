import { Command, CommanderError } from 'commander';
import { version } from '../version.js';
import { adoptCommand } from './adopt.js';
import { checkCommand } from './check.js';
import { detachCommand } from './detach.js';
import { EXIT_USAGE } from './exit.js';
import { fail } from './fail.js';
import { listCommand } from './list.js';
import { releaseCommand } from './release.js';
import { runCommand } from './run-command.js';
import { showCommand } from './show.js';

/** One verb per file; each adds its own options and help. */
function program(): Command {
  return (
    new Command('vifd')
      .description('Xen network backend in user space: guests do not notice when it is restarted')
      .option('-V, --version', 'print the version')
      // Commander's own option would read the version for every verb.
      .on('option:version', () => {
        process.stdout.write(`${version()}\n`);
        process.exit();
      })
      .exitOverride()
      .configureOutput({ writeErr: (text) => process.stderr.write(text) })
      .addCommand(runCommand())
      .addCommand(listCommand())
      .addCommand(showCommand())
      .addCommand(detachCommand())
      .addCommand(adoptCommand())
      .addCommand(releaseCommand())
      .addCommand(checkCommand())
  );
}

/** Runs the program `vifd` to its end. Prints errors, and sets the exit code. */
export async function start(args: readonly string[]): Promise<void> {
  try {
    const vifd = program();
    for (const command of vifd.commands) command.exitOverride();
    await vifd.parseAsync(args, { from: 'user' });
  } catch (error) {
    // Commander has printed its message. For help and version the exit code is 0.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
    else process.exitCode = fail(error);
  }
}
