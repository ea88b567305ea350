import { Command, Option } from 'commander';
import { wholeNumber } from '../programs/whole-number.js';

export interface FramesOptions {
  readonly seed: number;
  /** Tries only headers that stand for their kind, and a few of their cuts. */
  readonly quick: boolean;
  /** Tries only forms whose name contains this text. */
  readonly only: string | undefined;
  readonly json: boolean;
}

const SEED_MAX = 0xffffffff;

/** @throws CommanderError for --help, and for bad options; commander has printed the message then. */
export function parseOptions(args: readonly string[]): FramesOptions {
  const program = new Command('npm run frames --')
    .description(
      'sends frames with all headers, tags, cuts and offloads through vifd in both directions, and compares what ' +
        'comes out with what the kernel and scapy make of them',
    )
    .addOption(
      new Option('--seed <n>', 'seed from which sizes, options and pairs of cuts are drawn')
        .default(1)
        .argParser(wholeNumber(0, SEED_MAX)),
    )
    .option(
      '--quick',
      'tries only headers that stand for their kind, and a few of their cuts, as `npm test` does',
      false,
    )
    .option('--only <text>', 'tries only forms whose name (headers | tags | protocol) contains the text')
    .option('--json', 'prints one JSON object in place of the table', false)
    .allowExcessArguments(false)
    .exitOverride();
  return {
    only: undefined,
    ...program.parse([...args], { from: 'user' }).opts<Omit<FramesOptions, 'only'>>(),
  };
}
