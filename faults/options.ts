import { Command } from 'commander';

export interface FaultOptions {
  /** Rows whose name, kind or setting contains it. */
  readonly only: string | undefined;
  readonly short: boolean;
  /** With the rows that take minutes. */
  readonly long: boolean;
  readonly list: boolean;
  readonly json: boolean;
  /** Whether to remove each report and each retry in turn. */
  readonly without: boolean;
}

/** @throws CommanderError, after commander has printed what is wrong; also for --help. */
export function parseOptions(args: readonly string[]): FaultOptions {
  const program = new Command('npm run faults --')
    .description(
      'injects faults into a running vifd, one after the other, and judges each: the line that vifd wrote, how soon the ' +
        'guest is served again, whether its neighbour noticed, and what is left over',
    )
    .option('--only <text>', 'rows whose name, kind or setting contains the text')
    .option('--short', 'a tenth of the rows, one of each kind: what `npm test` runs', false)
    .option('--long', 'with the rows that take minutes', false)
    .option('--list', 'the names of the rows, and nothing else', false)
    .option(
      '--without',
      'takes each report and each retry of lib/ out in turn, and shows that a row then fails (long); --only chooses by ' +
        'file or source',
      false,
    )
    .option('--json', 'one JSON object a row, then a summary', false)
    .allowExcessArguments(false)
    .exitOverride();
  return {
    only: undefined,
    ...program.parse([...args], { from: 'user' }).opts<Omit<FaultOptions, 'only'>>(),
  };
}
