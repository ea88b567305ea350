/**
 * The table of frames: headers x tags x cuts over slots x payload mode x protocol, in both directions, each frame compared with
 * what the kernel and scapy make of it. Ends with 0 if there is no difference and no empty cell, with 1 otherwise; with 2 for bad
 * options, and with 77 if the machine lacks what the table needs.
 */
import { CommanderError } from 'commander';
import { enterNamespaces, isInside, whatIsMissing } from './enter.js';
import { parseOptions } from './options.js';
import { writeJson } from './report/json.js';
import { writeTable } from './report/table.js';
import { runTable } from './run.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** automake's exit code of a skipped test. */
const EXIT_SKIPPED = 77;

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (!isInside()) {
    const missing = whatIsMissing();
    if (missing === undefined) return enterNamespaces(args);
    process.stderr.write(`frames: skipped: ${missing}\n`);
    return EXIT_SKIPPED;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(EXIT_FAILED));
  const beganMs = performance.now();
  const tally = await runTable(options);
  const result = { tally, seed: options.seed, seconds: (performance.now() - beganMs) / 1000 };
  (options.json ? writeJson : writeTable)(result);
  return tally.differing > 0 || tally.empty.length > 0 ? EXIT_FAILED : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  // Commander has printed its message; help is no failure.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else {
    process.stderr.write(
      `frames: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exitCode = EXIT_FAILED;
  }
}
