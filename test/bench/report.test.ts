import { describe, expect, it } from 'vitest';
import { compare, compareText } from '../../bench/compare.js';
import { summary } from '../../bench/docs.js';
import { linesOf, merge, percentilesOf, spreadOf } from '../../bench/figures.js';
import { measureGarbage } from '../../bench/garbage.js';
import type { Found } from '../../bench/measure.js';
import { plot } from '../../bench/plot.js';
import type { Report } from '../../bench/report.js';
import { tablesOf } from '../../bench/tables.js';

const CELL = { direction: 'from-guest', frame: '60 B', batch: 64 } as const;

/** What a process found whose rounds took so long in C++, and `ratio` times as long in `subject`. */
function found(subject: string, ratio: number, cxxNs: readonly number[] = [20, 30, 25]): Found[] {
  return [{ ...CELL, samples: { cxx: cxxNs, [subject]: cxxNs.map((ns) => ns * ratio) } }];
}

function reportOf(ratios: readonly number[], loop = 'native'): Report {
  const lines = linesOf(
    loop,
    ratios.map((ratio) => found(loop, ratio)),
  );
  const where = { date: '2026-11-28', commit: 'abc', cpu: '2 x <CPU>', node: 'v20', load: '0.1' };
  return { schemaVersion: 2, quick: false, where, lines, tap: 'no /dev/net/tun' };
}

describe('the figures of the bench', () => {
  it('are the median of the processes, with the quartiles as their spread', () => {
    expect(spreadOf([5, 1, 2, 4, 3])).toEqual({ median: 3, low: 2, high: 4 });
    expect(spreadOf([1, 3])).toEqual({ median: 2, low: 1.5, high: 2.5 });
    expect(spreadOf([7])).toEqual({ median: 7, low: 7, high: 7 });
  });

  it('weigh each process alike, and compare only rounds that were run one after the other', () => {
    // A process in which the machine was busy: both loops took ten times as long in one round.
    const busy = found('native', 1.5, [20, 300, 25]);
    const [line] = linesOf('native', [busy, found('native', 1.5), found('native', 3)]);
    expect(line.figures.native.ratio).toEqual({ median: 1.5, low: 1.5, high: 2.25 });
    expect(line.figures.native.processes).toBe(3);
    expect(line.figures.cxx.ratio).toBeUndefined();
  });

  it('have percentiles of the rounds to three figures', () => {
    const rounds = Array.from({ length: 100 }, (_, i) => (i + 1) / 10);
    const { p50, p90, p99 } = percentilesOf(rounds);
    // A histogram of three figures.
    expect([p50 / 5, p90 / 9, p99 / 9.9].map((error) => error.toFixed(2))).toEqual(['1.00', '1.00', '1.00']);
  });

  it('of several subjects stand in one row, with the first figure of C++', () => {
    const native = linesOf('native', [found('native', 2)]);
    const [line, ...rest] = merge(native, linesOf('map', [found('map', 9, [40])]));
    expect(rest).toEqual([]);
    expect(Object.keys(line.figures).sort()).toEqual(['cxx', 'map', 'native']);
    expect(line.figures.cxx.ns.p50).toBeCloseTo(25, 1);
  });
});

describe('a saved run', () => {
  const saved = reportOf([1.9, 2, 2.1]);
  const verdicts = (now: Report) => compare(saved, now).map(({ verdict }) => verdict);

  it.each([
    ['faster', [1.4, 1.5, 1.6]],
    ['slower', [2.4, 2.5, 2.6]],
    ['same', [2, 2.04, 2.1]],
    // Far away, and so uncertain that it is no news.
    ['same', [1.5, 2.4, 9]],
    ['unknown', [9, 9]],
  ])('makes a run of other ratios %s', (verdict, ratios) => {
    expect(verdicts(reportOf(ratios))).toEqual([verdict]);
  });

  it('is compared in the rows and loops that both have', () => {
    expect(verdicts(reportOf([2, 2, 2], 'map'))).toEqual([]);
  });

  it('is printed with both ratios, the change and the verdict', () => {
    const now = reportOf([1, 1, 1]);
    const text = compareText(saved, now, compare(saved, now));
    expect(text).toContain('commit abc: 1 faster, 0 slower, 0 within the spread');
    expect(text).toMatch(
      /from-guest 60 B 64 +native +2\.00 \(1\.95-2\.05\) +1\.00 \(1\.00-1\.00\) +-50 % +faster/,
    );
  });

  it('is reported as of another kind if only one of the two was quick', () => {
    const now = reportOf([2, 2, 2]);
    const texts = [false, true].map((quick) => compareText(saved, { ...now, quick }, []));
    expect(texts.map((text) => text.includes('Only one of the two runs was --quick'))).toEqual([false, true]);
  });
});

describe('the page of the bench', () => {
  it('begins with the ratios, the time and where they are from', () => {
    const text = summary(reportOf([2, 2, 2]));
    expect(text).toContain('| small frames, 64 at a time | **2.00** (50) | not measured | not measured |');
    expect(text).toContain('2026-11-28, abc');
  });

  it('has a table without the figures that were not measured, and why there is none of a tap', () => {
    const tables = tablesOf(reportOf([2, 2, 2]));
    expect(tables[0].text).toMatch(/^60 B +64 +25\.0 +50\.0 +2\.00 +2\.00-2\.00$/m);
    expect(tables.find(({ title }) => title.includes('tap'))?.text).toBe('not measured: no /dev/net/tun');
  });

  it('has a plot with a mark in each row, further to the right if it is slower, and escaped texts', () => {
    const marks = (report: Report) =>
      [...plot(report).matchAll(/cx="([\d.]+)" cy="\d{3}/g)].map(([, x]) => +x);
    const [fast] = marks(reportOf([1.2, 1.3, 1.4]));
    const [slow] = marks(reportOf([1.3, 1.4, 1.45]));
    expect(slow).toBeGreaterThan(fast);
    expect(plot(reportOf([2, 2, 2]))).toContain('2 x &lt;CPU>');
    // Nothing lies outside of the axis.
    for (const x of marks(reportOf([0.1, 400, 30]))) expect(x).toBeLessThan(860);
  });
});

describe('what a loop allocates', () => {
  it('is counted by the byte, without what the bench allocates', () => {
    let kept: unknown;
    const words = new Uint32Array(64);
    const allocating = (views: number) =>
      measureGarbage(
        (gauge) => {
          const before = gauge();
          for (let i = 0; i < views; i++) kept = words.subarray(i);
          return gauge() - before;
        },
        1,
        200,
      );
    const none = allocating(0);
    const some = allocating(40);
    expect(kept).toBeDefined();
    expect(none.bytesPerBatch).toBeLessThan(40);
    expect(some.bytesPerBatch / 40).toBeGreaterThan(60);
    expect(some.bytesPerBatch / 40).toBeLessThan(250);
    expect(some.batches).toBeGreaterThan(10);
  });

  it('counts a collection that begins in the loop', () => {
    let heap = 0;
    const grown = [500, -5_000_000, 500, -100];
    const { bytesPerBatch, collections } = measureGarbage(() => grown[heap++ % 4], 1, 20);
    expect(collections).toBeGreaterThan(0);
    expect(bytesPerBatch).toBeLessThanOrEqual(500);
  });
});
