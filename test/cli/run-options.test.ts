import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { runCommand } from '../../lib/cli/run-command.js';
import { parseRunOptions } from '../../lib/daemon/run-options.js';

/** What commander makes of the same arguments; undefined where it complains or helps. */
function byCommander(args: readonly string[]): unknown {
  let options: unknown;
  const quiet = { writeErr: () => {}, writeOut: () => {} };
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
    '--colour',
    'vif7.0',
    '--bridge --json',
    '--bridge xen/br0',
    '--journal ',
    '--payload=map',
  ];
  it.each(bad)('%j are left to commander', (line) => {
    expect(parseRunOptions(line.split(' '))).toBeUndefined();
  });

  it('leaves contradictions to commander, where the last one counts', () => {
    expect(parseRunOptions(['--journal', '/j', '--no-journal'])).toBeUndefined();
    expect(byCommander(['--no-journal', '--journal', '/j'])).toMatchObject({ journal: '/j' });
  });
});
