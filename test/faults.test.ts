import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Verdict } from '../faults/judge.js';
import { findSites } from '../faults/sites.js';
import { difference, type Holdings } from '../faults/world/leftovers.js';

const EXIT_SKIPPED = 77;
const missing = ['dist/vifd.cjs', 'build/Release/libsystem_faults.so'].find((file) => !existsSync(file));

describe.skipIf(missing !== undefined)('the table of faults', () => {
  let program: string;

  beforeAll(async () => {
    const { buildPrograms } = await import(`${process.cwd()}/scripts/build-programs.mjs`);
    program = `${buildPrograms('faults')}main.js`;
  });

  const run = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
    return { status, lines: stdout.trim().split('\n'), stderr };
  };

  // Runs once more if it fails: other work on the machine may delay a line, a tap or a ping beyond its second.
  it('passes in its short form: a fault of each kind is reported, mended, and leaves nothing', {
    timeout: 120_000,
    retry: 1,
  }, (context) => {
    const { status, lines, stderr } = run('--short', '--json');
    if (status === EXIT_SKIPPED) return context.skip(stderr.trim());
    const events = lines.map((line) => JSON.parse(line));
    const wrong = events.filter(({ event, silent, stuck, leaked, harmed }: Verdict & { event: string }) => {
      return event === 'fault' && (silent || stuck || leaked || harmed.length > 0);
    });
    expect(wrong, stderr).toEqual([]);
    expect(events.at(-1)).toMatchObject({ event: 'summary', silent: 0, stuck: 0, leaked: 0, harmed: 0 });
    expect(new Set(events.flatMap(({ kind }) => kind ?? [])).size).toBe(10);
    expect(status).toBe(0);
  });

  it('has at least 45 rows whose fault must be reported, each with a name of its own', () => {
    const { status, lines } = run('--list');
    expect(status).toBe(0);
    expect(lines.length).toBeGreaterThanOrEqual(45);
    expect(new Set(lines).size).toBe(lines.length);
  });

  it.each([['--colour'], ['--only'], ['--only', 'no such row'], ['one', 'more']])(
    'refuses %s with one line and exit code 2',
    (...args) => {
      const { status, stderr } = run(...args);
      expect([status, stderr.trim().split('\n').length]).toEqual([2, 1]);
    },
  );
});

describe.skipIf(missing !== undefined)('the calls that are taken out of vifd', () => {
  const sites = missing === undefined ? findSites('lib', 'dist') : [];

  it('are found in source and compiled file alike, whole', () => {
    expect(sites.length).toBeGreaterThan(40);
    for (const { call, source } of sites) {
      expect(call.endsWith(')')).toBe(true);
      expect(source.slice(0, source.indexOf('('))).toBe(call.slice(0, call.indexOf('(')));
    }
  });

  it('are reports, their ends, and retries', () => {
    const files = (kind: string) =>
      new Set(sites.filter((site) => site.kind === kind).map(({ file }) => file));
    for (const kind of ['report', 'end', 'retry']) expect(files(kind)).toContain('netback/vif/vif.ts');
    // A loop that waits for its next try.
    expect(sites.find(({ file, kind }) => file === 'xen/store/client.ts' && kind === 'retry')?.awaited).toBe(
      true,
    );
  });
});

describe('what a vifd has left over', () => {
  const nothing: Holdings = {
    descriptors: [],
    mappings: [],
    anonymousKiB: 0,
    files: [],
    links: [],
    nodes: [],
    watches: [],
  };

  it('is what is there once more, or once less, than before', () => {
    const before = { ...nothing, descriptors: ['/dev/null', 'socket:[N]'], files: ['lock'] };
    const after = { ...nothing, descriptors: ['/dev/null', '/dev/null', 'socket:[N]'] };
    expect(difference(before, after)).toEqual(['descriptors: +1 /dev/null', 'files: -1 lock']);
    expect(difference(before, before)).toEqual([]);
  });

  it('is memory only where it has grown by more than a heap grows', () => {
    expect(difference(nothing, { ...nothing, anonymousKiB: 1024 })).toEqual([]);
    expect(difference(nothing, { ...nothing, anonymousKiB: 64 * 1024 })).toEqual(['memory: +65536 KiB']);
  });
});
