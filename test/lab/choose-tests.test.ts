import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TESTS } from '../../lab/tests/all.js';
import {
  ageOf,
  CORE_MINUTES,
  chooseTests,
  type Greens,
  LANDINGS_MAX,
  type Listed,
  recordGreens,
} from '../../lab/tests/choose.js';
import { SECONDS } from '../../lab/tests/harness.js';

const BOOT_SECONDS = 120;
const test = (name: string, parts: Partial<Listed> = {}): Listed => ({
  name,
  boot: 'alone',
  seconds: 100,
  core: false,
  ...parts,
});
const NONE: Greens = { landing: 0, tests: {} };
const green = (landing: number, seconds = 50) => ({ landing, commit: 'abc1234', seconds });
const names = (tests: readonly Listed[]) => tests.map(({ name }) => name);

describe("the choice of the lab's tests for a run", () => {
  it('always has the core, in the order of the tests, even where there is no time', () => {
    const tests = [test('a'), test('b', { core: true }), test('c'), test('d', { core: true })];
    const { chosen, rest } = chooseTests({ tests, greens: NONE, minutes: 1, bootSeconds: BOOT_SECONDS });
    expect(names(chosen)).toEqual(['b', 'd']);
    expect(rest.map(({ test: { name }, age }) => [name, age])).toEqual([
      ['a', 1],
      ['c', 1],
    ]);
  });

  it('takes those first that were never green, then the oldest, as long as they fit', () => {
    const tests = ['young', 'old', 'new', 'older'].map((name) => test(name));
    const greens = { landing: 7, tests: { young: green(7), old: green(5), older: green(3) } };
    // A boot, 100 s for the one of which no time is known, and 1.3 times 50 s for another.
    const minutes = (BOOT_SECONDS + 100 + 65) / 60;
    const { chosen, rest, seconds } = chooseTests({ tests, greens, minutes, bootSeconds: BOOT_SECONDS });
    expect(names(chosen)).toEqual(['new', 'older']);
    expect(rest.map(({ age }) => age)).toEqual([0, 2]);
    expect(seconds).toBe(minutes * 60);
  });

  it('counts a boot once, and leaves out a test whose boot does not fit', () => {
    const tests = [test('a', { core: true }), test('b', { boot: 'speed' }), test('c')];
    const minutes = (BOOT_SECONDS + 200) / 60;
    const { chosen } = chooseTests({ tests, greens: NONE, minutes, bootSeconds: BOOT_SECONDS });
    expect(names(chosen)).toEqual(['a', 'c']);
  });

  it('believes no time that is longer than what a test takes on a slow day', () => {
    const tests = [test('a', { seconds: 60 })];
    const greens = { landing: 1, tests: { a: green(1, 1000) } };
    const { seconds } = chooseTests({ tests, greens, minutes: 60, bootSeconds: BOOT_SECONDS });
    expect(seconds).toBe(BOOT_SECONDS + 60);
  });

  it('lets no test be older than ten landings, whatever the times are', () => {
    const seconds = fc.integer({ min: 1, max: 600 });
    const drawn = fc.array(fc.record({ seconds, core: fc.boolean(), boot: fc.constantFrom('a', 'b') }), {
      minLength: 1,
      maxLength: 30,
    });
    fc.assert(
      fc.property(drawn, fc.integer({ min: 1, max: 40 }), (parts, minutes) => {
        const tests = parts.map((part, i) => test(`${i}`, part));
        // All were green at the first landing.
        const passed = (ran: readonly Listed[]) =>
          ran.map(({ name }) => ({ name, outcome: 'passed', seconds: 50 }));
        const record = (greens: Greens, ran: readonly Listed[]) =>
          recordGreens({ greens, tests, commit: 'abc1234', isLanding: true, results: passed(ran) });
        let greens = record(NONE, tests);
        for (let landing = 0; landing < 3 * LANDINGS_MAX; landing++) {
          const { chosen, rest } = chooseTests({ tests, greens, minutes, bootSeconds: BOOT_SECONDS });
          expect(chosen.length + rest.length).toBe(tests.length);
          greens = record(greens, chosen);
          for (const { landing: last } of Object.values(greens.tests))
            expect(greens.landing - last).toBeLessThan(LANDINGS_MAX);
        }
      }),
    );
  });
});

describe('the tests that the lab has', () => {
  const greens = JSON.parse(readFileSync('lab/tests/last-green.json', 'utf8')) as Greens;
  const listed: Listed[] = TESTS.map(({ name, boot, seconds = SECONDS, core = false }) => ({
    ...{ name, boot, seconds, core },
  }));

  it('have names of their own, which the record goes by', () => {
    expect(new Set(names(listed)).size).toBe(TESTS.length);
  });

  it('were green ten landings ago at most', () => {
    for (const test of listed) expect(ageOf(test, greens), test.name).toBeLessThanOrEqual(LANDINGS_MAX);
  });

  it('have a core that takes twenty minutes with its boots', () => {
    const core = listed.filter((test) => test.core);
    expect(core.length).toBeGreaterThan(5);
    const boots = new Set(core.map(({ boot }) => boot)).size * BOOT_SECONDS;
    const seconds = core.map(({ name, seconds }) => greens.tests[name]?.seconds ?? seconds);
    expect(seconds.reduce((sum, one) => sum + one, boots)).toBeLessThanOrEqual(CORE_MINUTES * 60);
  });
});

describe('the record of green tests', () => {
  const tests = ['a', 'b', 'c'].map((name) => test(name));
  const greens = { landing: 4, tests: { a: green(2), b: green(3), gone: green(4) } };
  const results = [
    { name: 'a', outcome: 'passed', seconds: 61.4 },
    { name: 'b', outcome: 'failed', seconds: 9 },
    { name: 'c', outcome: 'skipped' },
  ];

  it('has what passed, keeps what did not, and forgets tests that are no more', () => {
    expect(recordGreens({ greens, tests, commit: 'def5678', isLanding: true, results })).toEqual({
      landing: 5,
      tests: { a: { landing: 5, commit: 'def5678', seconds: 61 }, b: green(3) },
    });
  });

  it('makes nothing older where only some tests were asked for', () => {
    const recorded = recordGreens({ greens, tests, commit: 'def5678', isLanding: false, results });
    expect([recorded.landing, recorded.tests.a?.landing]).toEqual([4, 4]);
  });
});
