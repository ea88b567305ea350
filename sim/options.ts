import { Command, Option } from 'commander';
import { wholeNumber } from '../programs/whole-number.js';

export interface SimOptions {
  /** How many scenarios are drawn. */
  readonly seeds: number;
  /** The first of them. */
  readonly seed: number;
  /** The most kills in one scenario. */
  readonly kills: number;
  readonly exhaustive: boolean;
  /** Whether wrong orders of stores are tried. */
  readonly mutations: boolean;
  /** Whether workers and their supervisor are killed. */
  readonly takeOvers: boolean;
  readonly json: boolean;
}

const SEEDS = 1000;
const SEED_MAX = 0xffffffff;
/** More than a scenario has processes: no limit. */
const KILLS = 9;

const NO_SCENARIOS = { seeds: 0, seed: 1, kills: 0, exhaustive: false, mutations: false, takeOvers: false };

interface Flags {
  readonly seeds?: number;
  readonly seed?: number;
  readonly kills: number;
  readonly exhaustive: boolean;
  readonly mutations: boolean;
  readonly takeOvers: boolean;
  readonly json: boolean;
}

/** @throws CommanderError, after commander has printed what is wrong; also for --help. */
export function parseOptions(args: readonly string[]): SimOptions {
  const program = new Command('npm run sim --')
    .description(
      'kills the backend on the model: at every step of small scenarios, and anywhere in drawn ones',
    )
    .addOption(
      new Option('--seeds <n>', `how many scenarios to draw (default: ${SEEDS})`).argParser(
        wholeNumber(0, 1e6),
      ),
    )
    .addOption(
      new Option('--seed <n>', 'the first seed; without --seeds only this one').argParser(
        wholeNumber(0, SEED_MAX),
      ),
    )
    .addOption(
      new Option('--kills <n>', 'processes of a scenario that are killed, at most; 0: all end in order')
        .default(KILLS)
        .argParser(wholeNumber(0, KILLS)),
    )
    .option('--no-exhaustive', 'drawn scenarios only')
    .option('--mutations', 'only see that wrong orders of stores to the journals are found', false)
    .option('--take-overs', 'only kill workers and their supervisor at every step of a take-over', false)
    .option('--json', 'one JSON object', false)
    .exitOverride();
  const flags = program.parse([...args], { from: 'user' }).opts<Flags>();
  const one = flags.seed !== undefined && flags.seeds === undefined;
  const { json, mutations, takeOvers } = flags;
  if (mutations || takeOvers) return { ...NO_SCENARIOS, mutations, takeOvers, json };
  return {
    seeds: flags.seeds ?? (one ? 1 : SEEDS),
    seed: flags.seed ?? 1,
    kills: flags.kills,
    exhaustive: flags.exhaustive && !one,
    mutations: flags.exhaustive && !one,
    takeOvers: flags.exhaustive && !one,
    json,
  };
}

/** Returns the command that runs one seed again. */
export function replayOf(seed: number, { kills }: Pick<SimOptions, 'kills'>): string {
  return `npm run sim -- --seed ${seed}${kills === KILLS ? '' : ` --kills ${kills}`}`;
}
