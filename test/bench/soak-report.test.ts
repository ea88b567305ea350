import { describe, expect, it } from 'vitest';
import { distribution, progressLine } from '../../bench/soak/soak-report.js';

describe('the soak report', () => {
  it('gives the middle, the hundredth and the worst, and counts by cells of 25 ms', () => {
    const { p50, p99, max, cells } = distribution(Array.from({ length: 100 }, (_, i) => i + 1));
    expect([p50, p99, max]).toEqual([50, 99, 100]);
    expect(cells.slice(0, 6)).toEqual([24, 25, 25, 25, 1, 0]);
    expect(distribution([9e9]).cells.at(-1)).toBe(1);
  });

  it('reports the progress of a run', () => {
    const sample = { atMs: 61_400, restarts: 80, resets: 0, differingBytes: 0, violations: 1 };
    expect(progressLine(sample, 2000)).toBe('   61 s  80/2000 kills  resets 0  differ 0  violations 1');
  });
});
