import { Command, CommanderError } from 'commander';
import { type CodeCache, isToBeStored, storeCode, withAllFunctions } from '../host/code-cache.js';
import { version } from '../version.js';
import { adoptCommand } from './adopt.js';
import { checkCommand } from './check.js';
import { detachCommand } from './detach.js';
import { EXIT_USAGE } from './exit.js';
import { fail } from './fail.js';
import { listCommand } from './list.js';
import { releaseCommand } from './release.js';
import { runCommand, workerCommand } from './run-command.js';
import { showCommand } from './show.js';

/** One verb per file; each adds its own options and help. */
function program(codeOfRun: () => CodeCache | undefined): Command {
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
      .addCommand(workerCommand(), { hidden: true })
      .addCommand(listCommand())
      .addCommand(showCommand())
      .addCommand(detachCommand())
      .addCommand(adoptCommand())
      .addCommand(releaseCommand())
      .addCommand(checkCommand(codeOfRun))
  );
}

/**
 * Runs the program `vifd` to its end. Prints errors, and sets the exit code.
 * @param code of the file that this was started from, if it was one. @param codeOfRun returns the same of what `vifd run` starts from.
 */
export async function start(
  args: readonly string[],
  code?: CodeCache,
  codeOfRun: () => CodeCache | undefined = () => undefined,
): Promise<void> {
  // As the start found it. At a second opening V8 takes the code of the first, and does not tell whether it rejects the file.
  let found: { readonly code: CodeCache | undefined } | undefined;
  const foundCodeOfRun = () => {
    found ??= { code: codeOfRun() };
    return found.code;
  };
  try {
    const vifd = program(foundCodeOfRun);
    for (const command of vifd.commands) command.exitOverride();
    await vifd.parseAsync(args, { from: 'user' });
    if (!isToBeStored(code)) return;
    await storeCode(code);
    if (isToBeStored(foundCodeOfRun())) await storeWhole(codeOfRun);
  } catch (error) {
    // Commander has printed its message. For help and version the exit code is 0.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
    else process.exitCode = fail(error);
  }
}

/**
 * Writes the code cache of `vifd run`, whose next start may be in a gap. Verbs do so with their own; most find that and do nothing. A cache
 * that cannot be written makes later starts slower by some ms, which only `vifd check` reports.
 */
async function storeWhole(codeOfRun: () => CodeCache | undefined): Promise<void> {
  const whole = withAllFunctions(codeOfRun);
  if (whole !== undefined) await storeCode(whole);
}
