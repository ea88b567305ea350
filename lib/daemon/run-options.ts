import { flagOf, OPTION_ROWS, type OptionRow, type RunOptions } from './option-table.js';

/**
 * Returns the options of `vifd run` without commander, which costs a tenth of the start (and util.parseArgs a quarter of that).
 * This parser accepts only valid arguments of the forms `--name` and `--name value`. For everything else and for
 * `--help` it returns undefined: commander then reads the arguments by the same table, and reports errors.
 * @param environment process.env, except in tests.
 */
export function parseRunOptions(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): RunOptions | undefined {
  const options = new Map<string, string | number | boolean>();
  for (let i = 0; i < args.length; i++) {
    const found = rowOf(args[i]);
    if (found === undefined) return undefined;
    const { name, row, negated } = found;
    const before = options.get(name);
    // The arguments have both `--journal` and `--no-journal`.
    if (before !== undefined && 'shape' in row && (before === false) !== negated) return undefined;
    if (negated || !('shape' in row)) {
      options.set(name, !negated);
      continue;
    }
    i += 1;
    if (args[i] === undefined || args[i].startsWith('-')) return undefined;
    const value = row.parse(args[i]);
    if (value === undefined) return undefined;
    options.set(name, value);
  }
  for (const [name, row] of OPTION_ROWS) {
    if (options.has(name) || !('shape' in row)) continue;
    const text = row.environment && environment[row.environment];
    const value = text ? row.parse(text) : row.default?.();
    // Commander reports a variable with an invalid value.
    if (text && value === undefined) return undefined;
    if (value !== undefined) options.set(name, value);
  }
  // The table's type ties each row to its property.
  return Object.fromEntries(options) as unknown as RunOptions;
}

function rowOf(argument: string): { name: string; row: OptionRow; negated: boolean } | undefined {
  for (const [name, row] of OPTION_ROWS) {
    const flag = flagOf(name);
    if (argument === `--${flag}`) return { name, row, negated: false };
    if ('negation' in row && argument === `--no-${flag}`) return { name, row, negated: true };
  }
  return undefined;
}
