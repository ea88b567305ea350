/**
 * The table of frames: headers x tags x cuts over slots x payload mode x protocol, in both directions. It compares each frame with the
 * results of the kernel and scapy. Ends with 0 if there is no difference and no empty cell, with 1 otherwise; with 2 for bad options, and
 * with 77 if the machine lacks what the table needs.
 */
import { enterNamespaces, isInside, OWN_MOUNTS } from '../programs/namespaces.js';
import { EXIT_FAILED, EXIT_SKIPPED, runProgram, withStack } from '../programs/run-program.js';
import { parseOptions } from './options.js';
import { writeJson } from './report/json.js';
import { writeTable } from './report/table.js';
import { runTable } from './run.js';
import { whatIsMissing } from './what-is-missing.js';

const NAME = 'frames';

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (!isInside(NAME)) {
    const missing = whatIsMissing();
    if (missing === undefined)
      return enterNamespaces({ name: NAME, url: import.meta.url, args, setUp: OWN_MOUNTS });
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

await runProgram(NAME, main, withStack);
