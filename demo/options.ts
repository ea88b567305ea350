import { Command, Option } from 'commander';
import { wholeNumber } from '../programs/whole-number.js';

export interface DemoOptions {
  readonly seconds: number;
  readonly guests: number;
  readonly payload: 'map' | 'copy';
  readonly json: boolean;
  /** The number of SIGKILLs at random instants, with the payload modes in turn, instead of a restart every second. */
  readonly kills?: number;
  /** The next backend process is loaded while the previous one serves. */
  readonly standby: boolean;
  /** Divides the guests among so many workers, and ends these instead of the backend. */
  readonly workers?: number;
  /** Whether to use the model, without trying namespaces first. */
  readonly world?: 'namespaces' | 'model';
}

export type Payload = DemoOptions['payload'];

const SECONDS_MIN = 3;
const SECONDS_MAX = 86_400;
const GUESTS_MAX = 32;
const KILLS_MAX = 100_000;
const WORKERS_MAX = 32;

/** @throws CommanderError, after commander has printed what is wrong; also for --help. */
export function parseOptions(args: readonly string[]): DemoOptions {
  const program = new Command('npm run demo --')
    .description('kills the backend again and again, every second, and shows that connections stay up')
    .addOption(
      new Option('--seconds <n>', 'how long').default(20).argParser(wholeNumber(SECONDS_MIN, SECONDS_MAX)),
    )
    .addOption(new Option('--guests <n>', 'how many guests').default(2).argParser(wholeNumber(1, GUESTS_MAX)))
    .addOption(
      new Option('--payload <mode>', 'how frames cross: copy them, or map the guest pages')
        .choices(['copy', 'map'])
        .default('copy'),
    )
    .addOption(
      new Option(
        '--kills <n>',
        'SIGKILL so often, at random instants and payload modes in turn, whatever it takes',
      )
        .argParser(wholeNumber(1, KILLS_MAX))
        .conflicts(['seconds', 'payload', 'world']),
    )
    .option('--standby', 'load the next backend while the last one serves', false)
    .addOption(
      new Option(
        '--workers <n>',
        'divide the guests among so many workers, and kill these, or the supervisor',
      )
        .argParser(wholeNumber(1, WORKERS_MAX))
        .conflicts(['standby', 'world']),
    )
    .option('--json', 'one JSON object a line; the last is the summary', false)
    .addOption(new Option('--world <kind>', 'for tests').choices(['namespaces', 'model']).hideHelp())
    .exitOverride();
  return program.parse([...args], { from: 'user' }).opts<DemoOptions>();
}
