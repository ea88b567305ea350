import { Command, InvalidArgumentError, Option } from 'commander';

export interface FramesOptions {
  readonly seed: number;
  /** Headers that stand for their kind, and a few of their cuts. */
  readonly quick: boolean;
  /** Forms whose name contains it. */
  readonly only: string | undefined;
  readonly json: boolean;
}

const SEED_MAX = 0xffffffff;

/** @throws CommanderError, after it has said what is wrong; also for --help. */
export function parseOptions(args: readonly string[]): FramesOptions {
  const program = new Command('npm run frames --')
    .description(
      'sends frames with all headers, tags, cuts and offloads through vifd in both directions, and compares what ' +
        'comes out with what the kernel and scapy make of them',
    )
    .addOption(
      new Option('--seed <n>', 'what sizes, options and pairs of cuts are drawn from')
        .default(1)
        .argParser(seed),
    )
    .option(
      '--quick',
      'headers that stand for their kind, and a few of their cuts: what `npm test` runs',
      false,
    )
    .option('--only <text>', 'forms whose name (headers | tags | protocol) contains the text')
    .option('--json', 'one JSON object', false)
    .allowExcessArguments(false)
    .exitOverride();
  return {
    only: undefined,
    ...program.parse([...args], { from: 'user' }).opts<Omit<FramesOptions, 'only'>>(),
  };
}

function seed(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= SEED_MAX) return value;
  throw new InvalidArgumentError(`Give a whole number from 0 to ${SEED_MAX}.`);
}
