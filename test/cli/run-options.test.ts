import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { runCommand } from '../../lib/cli/run-command.js';
import { flagOf, OPTION_ROWS } from '../../lib/daemon/option-table.js';
import { parseRunOptions } from '../../lib/daemon/run-options.js';

/** The result of commander for the same arguments; undefined if it reports an error or prints help. */
function byCommander(args: readonly string[], written: string[] = []): unknown {
  let options: unknown;
  const write = (text: string) => void written.push(text);
  const quiet = { writeErr: write, writeOut: write };
  const run = runCommand()
    .exitOverride()
    .configureOutput(quiet)
    .action((given) => {
      options = given;
    });
  try {
    new Command()
      .exitOverride()
      .addCommand(run)
      .parse(['run', ...args], { from: 'user' });
  } catch {
    return undefined;
  }
  return options;
}

describe('the options of vifd run', () => {
  const good = [
    '',
    '--json',
    '--payload map',
    '--payload map --payload copy',
    '--bridge xenbr0 --store /s --libraries /l',
    '--journal /j --json',
    '--no-journal',
    '--journal-version 7',
    '--journal-version 8 --journal /j',
    '--workers 2',
    '--workers per-guest',
  ];
  it.each(good)('%j are what commander makes of them', (line) => {
    const args = line.split(' ').filter((word) => word !== '');
    expect(parseRunOptions(args)).toEqual(byCommander(args));
    expect(parseRunOptions(args)).toBeDefined();
  });

  const bad = [
    '--help',
    '-h',
    '--payload',
    '--payload telepathy',
    '--payload telepathy --payload map',
    '--toString',
    '--no-json',
    '--colour',
    'vif7.0',
    '--bridge --json',
    '--bridge xen/br0',
    '--journal ',
    '--payload=map',
    '--journal-version 6',
    '--journal-version 07',
    '--journalVersion 7',
    '--no-journal-version',
    '--workers 65',
    '--workers per-vif',
  ];
  it.each(bad)('%j are left to commander', (line) => {
    expect(parseRunOptions(line.split(' '))).toBeUndefined();
  });

  it('leaves contradictions to commander, where the last one counts', () => {
    expect(parseRunOptions(['--journal', '/j', '--no-journal'])).toBeUndefined();
    expect(byCommander(['--no-journal', '--journal', '/j'])).toMatchObject({ journal: '/j' });
  });
});

const VARIABLES = OPTION_ROWS.flatMap(([, row]) => ('environment' in row ? [row.environment as string] : []));

describe('both parsers of the options of vifd run', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  /** Sets the variables that the table names, and unsets those without a text. */
  function setEnvironment(texts: readonly (string | undefined)[]): void {
    for (const [i, name] of VARIABLES.entries()) vi.stubEnv(name, texts[i]);
  }

  const flags = fc.constantFrom('--json', '--no-journal');
  const goodValues: Record<string, fc.Arbitrary<string>> = {
    payload: fc.constantFrom('copy', 'map'),
    queues: fc.integer({ min: 1, max: 16 }).map(String),
    bridge: fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/),
    'journal-version': fc.constantFrom('7', '8'),
    workers: fc.constantFrom('0', '1', '64', 'per-guest'),
    journal: fc.stringMatching(/^\/[a-z/ ]{0,20}$/),
    store: fc.stringMatching(/^[a-z/ ]{0,20}$/),
    libraries: fc.stringMatching(/^[a-z/ ]{0,20}$/),
  };
  const pairOf = (values: fc.Arbitrary<string>, name: string) => values.map((text) => [`--${name}`, text]);
  const goodPairs = fc.oneof(...Object.entries(goodValues).map(([name, values]) => pairOf(values, name)));
  const anyName = fc.constantFrom(
    ...OPTION_ROWS.map(([name]) => flagOf(name)),
    'no-json',
    'no-payload',
    'colour',
    '',
  );
  const anyText = fc.oneof(
    fc.constantFrom(
      '',
      '0',
      '17',
      '03',
      '1.5',
      'map',
      'telepathy',
      'xen/br0',
      '-',
      '--',
      '-h',
      '--json',
      'a b',
    ),
    ...Object.values(goodValues),
  );
  const good: Record<string, string[]> = {
    VIFD_JOURNAL_VERSION: ['7', '8'],
    VIFD_WORKERS: ['0', 'per-guest'],
  };
  const textsOf = (variable: string) => good[variable] ?? ['/e', 'e e'];
  const environment = fc.tuple(
    ...VARIABLES.map((variable) => fc.option(fc.constantFrom(...textsOf(variable)), { nil: undefined })),
  );

  it('give the same for each line of plain and good options', () => {
    const lines = fc.array(
      fc.oneof(
        flags.map((flag) => [flag]),
        goodPairs,
      ),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(lines, environment, (words, texts) => {
        const args = words.flat();
        fc.pre(!(args.includes('--journal') && args.includes('--no-journal')));
        setEnvironment(texts);
        const options = parseRunOptions(args);
        expect(options).toBeDefined();
        expect(options).toEqual(byCommander(args));
      }),
    );
  });

  it('agree on every other line: what the fast parser takes, commander takes as it is', () => {
    const words = fc.oneof(
      { weight: 6, arbitrary: goodPairs },
      { weight: 2, arbitrary: flags.map((flag) => [flag]) },
      { weight: 1, arbitrary: fc.tuple(anyName, anyText).map(([name, text]) => [`--${name}`, text]) },
      { weight: 1, arbitrary: fc.tuple(anyName, anyText).map(([name, text]) => [`--${name}=${text}`]) },
      { weight: 1, arbitrary: anyText.map((text) => [text]) },
    );
    let taken = 0;
    let refused = 0;
    fc.assert(
      fc.property(fc.array(words, { maxLength: 4 }), environment, (line, texts) => {
        const args = line.flat();
        setEnvironment(texts);
        const options = parseRunOptions(args);
        const other = byCommander(args);
        if (options !== undefined) expect(options).toEqual(other);
        if (other === undefined) refused++;
        else if (options !== undefined) taken++;
      }),
      { numRuns: 1000 },
    );
    // The drawn lines are a fair sample: neither all valid nor all invalid.
    expect(taken).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });

  it('include a fast one that takes an empty variable for none, as the library does', () => {
    setEnvironment(VARIABLES.map(() => ''));
    expect(parseRunOptions([])).not.toHaveProperty('store');
    expect(parseRunOptions([])).not.toHaveProperty('libraries');
  });

  it('leave a variable without a value to commander, which names it', () => {
    vi.stubEnv('VIFD_JOURNAL_VERSION', '6');
    expect(parseRunOptions([])).toBeUndefined();
    const written: string[] = [];
    expect(byCommander([], written)).toBeUndefined();
    expect(written.join('')).toContain("'6' from env 'VIFD_JOURNAL_VERSION' is invalid. Give 8, or 7 before");
    expect(parseRunOptions(['--journal-version', '7'])).toMatchObject({ journalVersion: 7 });
  });
});

describe('the option table', () => {
  const help: string[] = [];
  byCommander(['--help'], help);
  const words = help.join('').replace(/\s+/g, ' ');

  const rows = OPTION_ROWS.map(([name, row]) => [flagOf(name), row] as const);

  it.each(rows)('has --%s, which help lists with its text, shape, default and variable', (name, row) => {
    expect(words).toContain(`--${name} ${'shape' in row ? `${row.shape} ` : ''}${row.help}`);
    if (!('shape' in row)) return;
    if (row.negation !== undefined) expect(words).toContain(`--no-${name} ${row.negation}`);
    if (row.environment !== undefined) expect(words).toContain(`env: ${row.environment})`);
    const end = row.environment === undefined ? ')' : ', env: ';
    if (row.default !== undefined) expect(words).toContain(`default: ${JSON.stringify(row.default())}${end}`);
    for (const choice of row.choices ?? []) expect(words).toContain(JSON.stringify(choice));
  });

  it('lists nothing in help that has no row', () => {
    const listed = [...words.matchAll(/ --(?:no-)?([a-z-]+)/g)].map(([, name]) => name);
    expect(new Set(listed)).toEqual(new Set([...rows.map(([name]) => name), 'help']));
  });

  it.each(rows)('has --%s in the README', (name) => {
    expect(readFileSync('README.md', 'utf8')).toContain(`--${name}`);
  });

  it.each([
    ['payload', 'telepathy', 'Allowed choices are copy, map.'],
    ['queues', '17', 'Give a whole number from 1 to 16.'],
    ['bridge', 'xen/br0', 'Give 1 to 15 bytes without spaces, slashes, colons or %.'],
    ['journal', '', 'Give the path of a directory.'],
    ['journal-version', '6', 'Give 8, or 7 before a change to an older vifd, which does not read 8.'],
    ['journal-version', '9', 'Give 8, or 7 before a change to an older vifd, which does not read 8.'],
    ['workers', '65', 'Give a whole number from 0 to 64, or per-guest.'],
    ['workers', '-1', 'Give a whole number from 0 to 64, or per-guest.'],
  ])('has the one message for --%s %j', (name, text, message) => {
    const written: string[] = [];
    expect(byCommander([`--${name}`, text], written)).toBeUndefined();
    expect(written.join('')).toMatch(new RegExp(`^error: option '--${name} .*is invalid\\. `));
    expect(written.join('')).toContain(`'${text}' is invalid. ${message}\n`);
  });
});
