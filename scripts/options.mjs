/**
 * Reads the options of programs that compile before they run: --help and wrong options get their response at once, on a fresh clone too,
 * where no package is installed yet.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';

const EXIT_USAGE = 2;
const HELP = { name: 'help', about: 'prints this' };

/**
 * @typedef {object} Option
 * @property {string} name without dashes.
 * @property {string} about for --help.
 * @property {string} [value] how --help names the value; undefined: the option has none.
 * @property {boolean} [multiple] whether it may be given several times.
 * @property {(text: string) => string | undefined} [check] returns what to give instead, if the text is wrong.
 *
 * @typedef {object} Program
 * @property {string} command as a user types it, without options.
 * @property {string} about what it does.
 * @property {readonly Option[]} options
 * @property {string} [more] printed at the end of the help.
 * @property {(values: Record<string, unknown>) => string | undefined} [check] returns what is wrong with the options together.
 */

/**
 * Returns the options' values by name: a text, true, or a list of texts. Ends the process after --help with 0, after a wrong option with 2.
 * @param {Program} program
 * @param {readonly string[]} args
 */
export function parseOrExit(program, args) {
  const parsed = parse(program, args);
  if (parsed.values?.help) {
    process.stdout.write(helpText(program));
    process.exit(0);
  }
  if (parsed.wrong === undefined) return parsed.values;
  process.stderr.write(`${program.command}: ${parsed.wrong} --help lists the options.\n`);
  process.exit(EXIT_USAGE);
}

/**
 * @param {Program} program
 * @param {readonly string[]} args
 * @returns {{ values: Record<string, unknown>, wrong?: undefined } | { values?: undefined, wrong: string }} `wrong`: a sentence.
 */
export function parse({ options, check }, args) {
  const known = new Map([...options, HELP].map((option) => [option.name, option]));
  const types = [...known.values()].map(({ name, value, multiple = false }) => {
    const type = value === undefined ? 'boolean' : 'string';
    return [name, { type, multiple, ...(name === 'help' ? { short: 'h' } : {}) }];
  });
  const { values, tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(types),
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  // Help is wanted although something else is wrong.
  if (values.help) return { values: { help: true } };
  for (const token of tokens) {
    const wrong = token.kind === 'option' ? wrongOption(token, known) : wrongPositional(token);
    if (wrong !== undefined) return { wrong };
  }
  const together = check?.(values);
  return together === undefined ? { values } : { wrong: together };
}

function wrongPositional({ kind, value }) {
  return kind === 'positional' ? `${value} is no option.` : undefined;
}

function wrongOption({ name, rawName, value }, known) {
  const option = known.get(name);
  if (option === undefined) {
    const near = nearest(name, [...known.keys()]);
    return `There is no option ${rawName}${near === undefined ? '' : `; --${near} may be meant`}.`;
  }
  if (option.value === undefined) return value === undefined ? undefined : `${rawName} has no value.`;
  if (value === undefined) return `${rawName} needs a value: ${option.value}.`;
  const instead = option.check?.(value);
  return instead && `${rawName} is '${value}': give ${instead}.`;
}

/** Returns the name that differs from `name` by at most two letters, if there is one. */
function nearest(name, names) {
  return names.find((other) => distance(name, other) <= 2);
}

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length];
}

/** @param {Program} program */
export function helpText({ command, about, options, more }) {
  const rows = [...options, HELP].map(({ name, value, about: what }) => [
    `--${name}${value === undefined ? '' : ` ${value}`}`,
    what,
  ]);
  const width = Math.max(...rows.map(([option]) => option.length));
  const lines = rows.map(([option, what]) => `  ${option.padEnd(width)}  ${what}`);
  const dashes = command.includes(' -- ') ? '' : ' --';
  return `Usage: ${command}${dashes} [options]\n\n${about}\n\n${lines.join('\n')}\n${more === undefined ? '' : `\n${more}\n`}`;
}

/** @returns a check of whole numbers. */
export function wholeNumber(least, most) {
  const instead = `a whole number from ${least} to ${most}`;
  return (text) => (/^\d+$/.test(text) && +text >= least && +text <= most ? undefined : instead);
}

/** @returns a check of one of several words. */
export function oneOf(...words) {
  return (text) => (words.includes(text) ? undefined : words.join(' or '));
}

/** @returns a check of some of several words, with commas between them. */
export function someOf(words) {
  return (text) =>
    text.split(',').every((word) => words.includes(word)) ? undefined : `some of ${words.join(',')}`;
}

export function file(path) {
  return existsSync(path) ? undefined : 'a file that exists';
}
