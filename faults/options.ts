import { Command, Option } from 'commander';
import { wholeNumber } from '../programs/whole-number.js';

const WORKERS_MAX = 32;

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
  /** Divides the guests among so many workers, except where a setting excludes that. */
  readonly workers: number | undefined;
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
    .addOption(
      new Option('--workers <n>', 'by `vifd run --workers`: victim and neighbour are served by two processes')
        .argParser(wholeNumber(1, WORKERS_MAX))
        .conflicts(['without']),
    )
    .option('--json', 'one JSON object a row, then a summary', false)
    .allowExcessArguments(false)
    .exitOverride();
  return {
    only: undefined,
    workers: undefined,
    ...program.parse([...args], { from: 'user' }).opts<Omit<FaultOptions, 'only' | 'workers'>>(),
  };
}
