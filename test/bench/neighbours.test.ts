import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ATTACKS } from '../../bench/neighbours/attacks/index.js';
import type { Checked } from '../../bench/neighbours/check.js';
import { type ModeTurns, percentile } from '../../bench/neighbours/measure.js';
import { modeReport, neighboursText, report } from '../../bench/neighbours/neighbours-report.js';

const EXIT_SKIPPED = 77;
/** Ten lines of each of six kinds (`LogLimit`). Without limits of lines and connections, `noring` alone had 79 in its second. */
const LINES_MAX = 60;
const TIMEOUT_MS = 240_000;
const missing = ['dist/vifd.cjs', 'build/Release/xensim/libxengnttab.so.1'].find((file) => !existsSync(file));

describe.skipIf(missing !== undefined)('a vifd that one guest attacks', () => {
  it('keeps another guest connected, its log short, and the vif usable, whatever the attack', {
    timeout: TIMEOUT_MS,
  }, async (context) => {
    const { buildPrograms } = await import(`${process.cwd()}/scripts/build-programs.mjs`);
    const program = `${buildPrograms('bench')}neighbours/check.js`;
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], {
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
    });
    if (status === EXIT_SKIPPED) return context.skip(stderr.trim());
    expect(status, stderr).toBe(0);
    const lines = stdout.trim().split('\n');
    const checked = lines.map((line) => JSON.parse(line) as Checked);
    expect(checked.map(({ mode }) => mode)).toEqual(ATTACKS.map(({ name }) => name));
    for (const { mode, count, lines, ...found } of checked) {
      expect({ mode, ...found }).toEqual({ mode, victimLost: 0, vifdRuns: true, successorLost: 0 });
      expect(lines.length, `${mode}: ${lines.join('\n')}`).toBeLessThan(LINES_MAX);
      // An attack that did nothing proves nothing.
      expect(count, mode).not.toBe(0);
    }
  });
});

describe('the figures of the neighbours bench', () => {
  const turn = (rttMs: number[], lost = 0) => ({ rttMs, lost, rate: 1000 });
  const flat = (ms: number, lost = 0) => turn(Array(100 - lost).fill(ms), lost);
  const of = (beside: ModeTurns['turns']['beside'], apart: ModeTurns['turns']['apart']) =>
    modeReport({ mode: 'flood', counts: 'frames', turns: { beside, apart } });

  it('take a lost ping for one that never ends', () => {
    expect(percentile(turn([1, 2, 3]), 0.5)).toBe(2);
    expect(percentile(flat(1, 1), 0.99)).toBe(1);
    expect(percentile(flat(1, 2), 0.99)).toBe(Number.POSITIVE_INFINITY);
  });

  it('are medians of the rounds, so that one bad round decides nothing', () => {
    const { beside, ratio, holds } = of([flat(3), flat(100), flat(2)], [flat(2), flat(2), flat(2)]);
    expect(beside).toMatchObject({ p50Ms: 3, p99Ms: 3, p99sMs: [3, 100, 2], lost: 0, rate: 1000 });
    expect({ ratio, holds }).toEqual({ ratio: 1.5, holds: true });
  });

  it.each([
    ['more than twice as long', flat(5), flat(2), 2.5],
    ['for ever', flat(2, 5), flat(2), null],
  ])('do not hold when pings take %s', (_, beside, apart, ratio) => {
    expect(of([beside], [apart])).toMatchObject({ ratio, holds: false });
  });

  it('are printed with a verdict for each attack, and the shares of flooders', () => {
    const effort = { rounds: 1, pings: 100, everyMs: 5 };
    const modes = [of([flat(5)], [flat(2)]), of([flat(2)], [flat(2)]), of([flat(2, 5)], [flat(2)])];
    const text = neighboursText(
      report({ effort, workers: false, modes, shares: [{ queues: [1, 4], kpps: [100, 400], ratio: 4 }] }),
    );
    const verdicts = text.split('\n').filter((line) => line.startsWith('flood'));
    expect(verdicts.map((line) => /(ok|TOO MUCH)$/.exec(line)?.[0])).toEqual(['TOO MUCH', 'ok', 'TOO MUCH']);
    expect(verdicts[2]).toContain('lost');
    expect(text).toMatch(/1 queue beside 4 +100 +400 +4\.00/);
  });
});
