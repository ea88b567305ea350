/**
 * The table of faults: injects each into a running vifd and judges what vifd did. Ends with 0 only if nothing was silent,
 * stuck, leaked or harmed; with 1 otherwise, 2 for options that cannot be used, 77 where the machine lacks what it needs.
 */
import { enterNamespaces, isInside, OWN_MOUNTS } from '../programs/namespaces.js';
import { EXIT_FAILED, EXIT_SKIPPED, EXIT_USAGE, runProgram, withStack } from '../programs/run-program.js';
import { parseOptions } from './options.js';
import { ROWS } from './rows/index.js';
import { runRows } from './run.js';
import { countsOf, tableFor } from './table.js';
import { whatIsMissing } from './what-is-missing.js';
import { runWithout } from './without.js';

const NAME = 'faults';

async function main(args: readonly string[]): Promise<number> {
  const { only, short, long, list, json, without, workers } = parseOptions(args);
  // With --without the text chooses which calls are removed, and the rows follow from that.
  const rows = ROWS.filter(
    ({ name, kind, setting, short: isShort, long: isLong }) =>
      (only === undefined || without || `${kind} ${setting.name} ${name}`.includes(only)) &&
      (!short || isShort === true) &&
      (long || without || isLong !== true),
  );
  if (rows.length === 0) {
    process.stderr.write(
      `faults: no row contains ${JSON.stringify(only)}: \`npm run faults -- --list\` lists them\n`,
    );
    return EXIT_USAGE;
  }
  if (list) {
    for (const { kind, name } of rows) process.stdout.write(`${kind}: ${name}\n`);
    return 0;
  }
  if (!isInside(NAME)) {
    const missing = whatIsMissing();
    if (missing === undefined)
      return enterNamespaces({ name: NAME, url: import.meta.url, args, setUp: OWN_MOUNTS });
    process.stderr.write(`faults: skipped: ${missing}\n`);
    return EXIT_SKIPPED;
  }
  const stop = new AbortController();
  // The first signal ends the run after the present row, the second at once.
  const interrupt = () => (stop.signal.aborted ? process.exit(EXIT_FAILED) : stop.abort());
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  if (without) return (await runWithout({ rows, only, json, signal: stop.signal })) ? 0 : EXIT_FAILED;
  const table = tableFor(
    json,
    rows.map(({ name }) => name),
  );
  const verdicts = await runRows({
    rows,
    signal: stop.signal,
    ...(workers === undefined ? {} : { workers }),
    onBegin: ({ name }) => table.begin(name),
    onVerdict: (verdict) => {
      table.row(verdict);
      return true;
    },
  });
  table.end(verdicts);
  const { silent, stuck, leaked, harmed } = countsOf(verdicts);
  return silent + stuck + leaked + harmed > 0 || stop.signal.aborted ? EXIT_FAILED : 0;
}

await runProgram(NAME, main, withStack);
