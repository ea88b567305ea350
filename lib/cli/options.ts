import { type Command, InvalidArgumentError, Option } from 'commander';
import { flagOf, OPTION_ROWS, OPTIONS, type OptionRow } from '../daemon/option-table.js';

type OptionName = keyof typeof OPTIONS;

/**
 * Returns a row of the option table for a verb that shares this option with `vifd run`.
 * @param help what the option means to that verb; default: the same as to `vifd run`.
 */
export function sharedOption(name: OptionName, help: string = OPTIONS[name].help): Option {
  return optionOf(name, { ...OPTIONS[name], help });
}

/** Returns `--json` for verbs that print one result; `vifd run`, which prints events, has its own. */
export function jsonOption(): Option {
  return sharedOption('json', 'as JSON');
}

/** Adds each option of `vifd run`. */
export function addRunOptions(command: Command): Command {
  for (const [name, row] of OPTION_ROWS) {
    command.addOption(optionOf(name, row));
    if ('negation' in row) command.addOption(new Option(`--no-${flagOf(name)}`, row.negation));
  }
  return command;
}

function optionOf(name: string, row: OptionRow): Option {
  const flag = `--${flagOf(name)}`;
  if (!('shape' in row)) return new Option(flag, row.help);
  const option = new Option(`${flag} ${row.shape}`, row.help);
  if (row.choices !== undefined) option.choices(row.choices);
  if (row.default !== undefined) option.default(row.default());
  if (row.environment !== undefined) option.env(row.environment);
  // Set after the choices, because commander sets a parser for those.
  return option.argParser((text: string) => {
    const value = row.parse(text);
    if (value === undefined) throw new InvalidArgumentError(row.refusal);
    return value;
  });
}
