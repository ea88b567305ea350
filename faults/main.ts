/**
 * The table of faults: injects each into a running vifd and judges what vifd did. Ends with 0 only if nothing was silent,
 * stuck, leaked or harmed; with 1 otherwise, 2 for options that cannot be used, 77 where the machine lacks what it needs.
 */
import { CommanderError } from 'commander';
import { enterNamespaces, isInside, whatIsMissing } from './enter.js';
import { parseOptions } from './options.js';
import { ROWS } from './rows/index.js';
import { runRows } from './run.js';
import { countsOf, tableFor } from './table.js';
import { runWithout } from './without.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** As automake has it for a test that was skipped. */
const EXIT_SKIPPED = 77;

async function main(args: readonly string[]): Promise<number> {
  const { only, short, long, list, json, without } = parseOptions(args);
  // With --without the text chooses what is taken out, and the rows follow from that.
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
  if (!isInside()) {
    const missing = whatIsMissing();
    if (missing === undefined) return enterNamespaces(args);
    process.stderr.write(`faults: skipped: ${missing}\n`);
    return EXIT_SKIPPED;
  }
  const stop = new AbortController();
  // The first ends it after the row that is under way, the second at once.
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

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  // Commander has printed its message; help is no failure.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else {
    process.stderr.write(
      `faults: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exitCode = EXIT_FAILED;
  }
}
