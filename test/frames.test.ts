import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { fits, manyCuts, pairOfCuts, piecesOf, singleCuts } from '../frames/cuts.js';
import { forms } from '../frames/forms/forms.js';
import { Random } from '../frames/random.js';
import { findTransport } from '../frames/references/linux.js';
import { arrive, type FromBackend } from '../frames/references/netfront.js';
import { describe as described } from '../frames/report/difference.js';
import { Tally } from '../frames/report/tally.js';
import { verdictFromGuest, verdictToGuest } from '../frames/verdicts.js';

const EXIT_SKIPPED = 77;
/** How long the compiler may take on a busy machine. */
const BUILD_MS = 120_000;
const missing = ['dist/index.js', 'build/Release/vifd.node'].find((file) => !existsSync(file));

describe.skipIf(missing !== undefined)('the table of frames', () => {
  let program: string;

  beforeAll(async () => {
    const { buildPrograms } = await import(`${process.cwd()}/scripts/build-programs.mjs`);
    program = `${buildPrograms('frames')}main.js`;
  }, BUILD_MS);

  const run = (...args: string[]) => {
    const maxBuffer = 1 << 28;
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
      encoding: 'utf8',
      maxBuffer,
    });
    return { status, stdout, stderr };
  };

  it('has no difference from the kernel and scapy in its short form, and no empty cell', {
    timeout: 120_000,
  }, (context) => {
    const { status, stdout, stderr } = run('--quick', '--json');
    if (status === EXIT_SKIPPED) return context.skip(stderr.trim());
    const result = JSON.parse(stdout || '{}');
    expect(result.cases, stderr).toEqual([]);
    expect(result).toMatchObject({ seed: 1, differences: 0, emptyCells: 0 });
    expect(result.frames).toBeGreaterThan(10_000);
    expect(result.cells.length).toBeGreaterThan(10_000);
    expect(status).toBe(0);
  });

  it.each([['--colour'], ['--seed'], ['--seed', '-1'], ['one', 'more']])(
    'refuses %s with one line and exit code 2',
    (...args) => {
      const { status, stderr } = run(...args);
      expect([status, stderr.trim().split('\n').length]).toEqual([2, 1]);
    },
  );
});

describe('the plan of the table of frames', () => {
  it('has each of the headers with each of the tags and protocols', () => {
    const all = forms(false);
    const names = (axis: 'headers' | 'tags' | 'protocol') => new Set(all.map((form) => form[axis].name)).size;
    expect(names('headers')).toBeGreaterThanOrEqual(40);
    expect(names('tags')).toBe(6);
    expect(all.length).toBe(names('headers') * names('tags') * names('protocol'));
  });

  it('tries every single cut of the headers, and never more than a guest may send', () => {
    expect(singleCuts(200, 54)).toEqual(Array.from({ length: 56 }, (_, i) => i + 1));
    expect(singleCuts(40, 54).at(-1)).toBe(39);
    const random = new Random(1);
    for (const bytes of [20, 200, 9000, 65535]) {
      for (let i = 0; i < 20; i++) {
        for (const cuts of [pairOfCuts(bytes, 54, random), manyCuts(bytes, 54, random)]) {
          const pieces = piecesOf(bytes, cuts);
          expect(pieces.reduce((sum, piece) => sum + piece, 0)).toBe(bytes);
          expect(Math.min(...pieces)).toBeGreaterThan(0);
          expect(Math.max(...pieces)).toBeLessThanOrEqual(4096);
          expect(fits(pieces)).toBe(true);
        }
      }
    }
  });

  it('wants contradictions dropped from the guest, and nothing of a port lost that can be delivered', () => {
    const of = (headers: string, tags: string, protocol: string) =>
      forms(false).find(
        (form) => form.headers.name === headers && form.tags.name === tags && form.protocol.name === protocol,
      )!;
    expect(verdictFromGuest(of('IPv4', 'none', 'GSO TCPv6'))).toBe('dropped');
    expect(verdictFromGuest(of('IPv6', 'QinQ', 'GSO TCPv6'))).toBe('sent');
    expect(verdictFromGuest(of('IPv6, atomic fragment', 'none', 'UDP open'))).toBe('sent');
    expect(verdictFromGuest(of('IPv6, first fragment', 'none', 'UDP open'))).toBe('dropped');
    expect(verdictToGuest(of('IPv6, unknown', 'three', 'TCP open'))).toBe('sent');
    expect(verdictToGuest(of('IPv6, AH', '802.1Q', 'GSO TCPv6'))).toBe('sent');
  });
});

describe("the table's model of Linux's netfront", () => {
  const all = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true, scatterGather: true };
  const bytes = new Uint8Array(100);
  bytes.set([0x08, 0x00, 0x45], 12);
  bytes.set([6], 23);
  bytes.set([0x50], 46);
  const frame: FromBackend = { bytes, csumBlank: true, dataValidated: true, gso: 0, segment: 0, slots: 1 };

  it('finds TCP and UDP in untagged IPv4 and IPv6 alone', () => {
    expect(findTransport(bytes)).toMatchObject({ start: 34, offset: 16, protocol: 'tcp', version: 4 });
    const tagged = bytes.slice();
    tagged.set([0x81, 0x00], 12);
    expect(findTransport(tagged)).toBe('ethertype 0x8100');
    const fragment = bytes.slice();
    fragment[20] = 0x20;
    expect(findTransport(fragment)).toBe('an IPv4 fragment');
  });

  it('loses what the guest has not agreed to, and what its flags contradict', () => {
    expect(arrive(frame, all)).toMatchObject({ frames: [{ length: 100 }] });
    expect(arrive(frame, { ...all, checksumV4: false })).toHaveProperty('lost');
    expect(arrive({ ...frame, gso: 6, segment: 10 }, all)).toHaveProperty('lost');
    expect(arrive({ ...frame, gso: 4, segment: 10, dataValidated: false }, all)).toHaveProperty('lost');
    expect(arrive({ ...frame, gso: 4, segment: 10 }, { ...all, gsoV4: false })).toHaveProperty('lost');
    expect(arrive({ ...frame, slots: 2 }, { ...all, scatterGather: false })).toHaveProperty('lost');
    expect(arrive({ ...frame, slots: 19 }, all)).toHaveProperty('lost');
    expect(arrive({ ...frame, gso: 4, segment: 20 }, all)).toMatchObject({
      frames: [{ length: 74 }, { length: 74 }, { length: 60 }],
    });
  });
});

describe('a difference of the table of frames', () => {
  const cell = {
    direction: 'from-guest',
    headers: 'IPv4',
    tags: 'none',
    protocol: 'TCP open',
    how: 'map',
    through: 'one cut',
  } as const;

  it('is printed so that it can be run again, with the first byte that differs marked', () => {
    const expected = Uint8Array.of(1, 2, 3, 4);
    const got = Uint8Array.of(1, 2, 9, 4);
    const name = 'IPv4 | none | TCP open | 4 bytes';
    const text = described(
      { where: cell, name, seed: 5, pieces: [1, 3], what: 'frame 1 of 1 differs', expected, got },
      7,
      (marked) => marked,
    );
    expect(text.split('\n')).toEqual([
      'from-guest | map | one cut | IPv4 | none | TCP open | 4 bytes',
      '  frame 1 of 1 differs',
      '  slots of 1, 3 bytes',
      '  expected 0102[03]04, 4 bytes',
      '  got      0102[09]04, 4 bytes',
      '  again: npm run frames -- --seed 7 --only "IPv4 | none | TCP open"',
    ]);
  });

  it('is counted in its cell, and a cell without frames is found', () => {
    const tally = new Tally();
    tally.expect(cell);
    tally.expect({ ...cell, through: 'whole' });
    tally.add(cell, false);
    for (let i = 0; i < 10; i++)
      tally.differ({ where: cell, name: 'IPv4 | none | TCP open', seed: 1, what: `${i}` });
    expect([tally.frames, tally.differing, tally.differences.length]).toEqual([1, 10, 3]);
    expect(tally.empty.map(({ through }) => through)).toEqual(['whole']);
  });
});
