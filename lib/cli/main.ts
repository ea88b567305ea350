#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { VifdError } from '../errors.js';
import { checkCommand } from './check.js';
import { EXIT_FAILED, EXIT_NOT_PERMITTED, EXIT_USAGE } from './exit.js';
import { listCommand } from './list.js';
import { runCommand } from './run.js';

/** One verb per file; each adds its own options and help. */
const program = new Command('vifd')
  .description('Xen network backend in user space: restart it, guests do not notice')
  .exitOverride()
  .configureOutput({ writeErr: (text) => process.stderr.write(text) })
  .addCommand(runCommand())
  .addCommand(listCommand())
  .addCommand(checkCommand());

/** One clear line for people; with --json one object, so that a program need not parse the line. */
function fail(error: unknown): number {
  const code = error instanceof VifdError ? error.code : 'ERR_STATE';
  const message = error instanceof Error ? error.message : String(error);
  if (process.argv.includes('--json')) {
    process.stderr.write(`${JSON.stringify({ schemaVersion: 1, error: { code, message } })}\n`);
  } else process.stderr.write(`vifd: ${message}\n`);
  if (code === 'ERR_ARGUMENT') return EXIT_USAGE;
  const errno = error instanceof VifdError ? error.errno : undefined;
  return errno === 'EACCES' || errno === 'EPERM' ? EXIT_NOT_PERMITTED : EXIT_FAILED;
}

try {
  for (const command of program.commands) command.exitOverride();
  await program.parseAsync();
} catch (error) {
  // Commander has printed its message; help and version are no failures.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else process.exitCode = fail(error);
}
