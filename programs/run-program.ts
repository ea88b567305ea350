import { CommanderError } from 'commander';

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
/** automake's exit code of a skipped test. */
export const EXIT_SKIPPED = 77;

/**
 * Runs a program with the arguments of this process, and sets the exit code: the result of `main`, EXIT_USAGE for options that commander
 * refused, or EXIT_FAILED for an error of `main`, which is printed.
 * @param describe returns the text to print for an error. Default: its message.
 */
export async function runProgram(
  name: string,
  main: (args: readonly string[]) => Promise<number>,
  describe: (error: Error) => string = ({ message }) => message,
): Promise<void> {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    // Commander has printed its message; help is no failure.
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
    else {
      process.stderr.write(`${name}: ${error instanceof Error ? describe(error) : String(error)}\n`);
      process.exitCode = EXIT_FAILED;
    }
  }
}

/** For `runProgram`: the error with where it was thrown. */
export function withStack({ stack, message }: Error): string {
  return stack ?? message;
}
