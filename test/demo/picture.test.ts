import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { machineMs } from '../../demo/clock.js';
import { type History, historyOf } from '../../demo/history.js';
import { Recorder } from '../../demo/recorder.js';

let draw: (history: Pick<History, 'cellMs' | 'bytes' | 'restarts'>, words: Words) => string;
interface Words {
  readonly title: string;
  readonly machine: string;
}
const WORDS = { title: 'no <resets>', machine: '2 x "fast" & Node' };

beforeAll(async () => {
  ({ draw } = await import(`${process.cwd()}/scripts/picture/draw.mjs`));
});

describe('the history of a run', () => {
  test('has what all streams moved in each cell, and when each process ended', () => {
    const recorder = new Recorder();
    const streams = [recorder.addStream('g1', 'g2'), recorder.addStream('g2', 'g1')];
    recorder.begin();
    const beganMs = machineMs();
    for (const stream of streams) recorder.received(stream, 500, []);
    const restart = recorder.restarting('SIGKILL');
    const history = historyOf(recorder, 3);
    expect(history).toMatchObject({ event: 'history', cellMs: 100 });
    expect(history?.bytes).toEqual([1000, ...Array(29).fill(0)]);
    expect(history?.restarts).toMatchObject([{ ending: 'SIGKILL' }]);
    expect(Math.abs((history?.restarts[0]?.atMs ?? -1) - (restart.atMs - beganMs))).toBeLessThan(20);
  });

  test('is absent for a run whose first cells the recorder has forgotten', () => {
    expect(historyOf(new Recorder(), 60)).toBeUndefined();
  });
});

describe('the picture of a run', () => {
  const restarts = [
    { ending: 'SIGTERM', atMs: 1000 },
    { ending: 'SIGKILL', atMs: 2000 },
    { ending: 'SIGTERM', atMs: 3000 },
  ] as const;
  // 10 Gbit/s in each cell but one.
  const bytes = Array.from({ length: 40 }, (_, cell) => (cell === 20 ? 0 : 125e6));
  const lines = (svg: string, ending: string) =>
    [...svg.matchAll(new RegExp(`class="${ending}" d="M([\\d.]+) [\\d.]+V`, 'g'))].map(([, x]) => Number(x));

  test('marks each end of the backend at its time, by its signal', () => {
    const svg = draw({ cellMs: 100, bytes, restarts }, WORDS);
    // The 4 s reach from 56 to 844.
    expect(lines(svg, 'SIGTERM')).toEqual([253, 647]);
    expect(lines(svg, 'SIGKILL')).toEqual([450]);
  });

  test('has a point for each cell, and the cell without a byte on the axis', () => {
    const [, path = ''] =
      draw({ cellMs: 100, bytes, restarts }, WORDS).match(/class="curve" d="([^"]*)"/) ?? [];
    const heights = [...path.matchAll(/[ML][\d.]+ ([\d.]+)/g)].map(([, y]) => Number(y));
    expect(path).toMatch(/^M56 262L65\.9 /);
    // The curve begins and ends on the axis.
    expect(heights).toHaveLength(42);
    expect(heights[21]).toBe(heights[0]);
    expect(heights.filter((y) => y < (heights[0] as number))).toHaveLength(39);
  });

  test('has colours for light and dark, escaped words, and no number that is not finite', () => {
    for (const svg of [
      draw({ cellMs: 100, bytes, restarts }, WORDS),
      draw({ cellMs: 100, bytes: [0, 0], restarts: [] }, WORDS),
    ]) {
      expect(svg).toContain('prefers-color-scheme: dark');
      expect(svg).toContain('no &lt;resets>');
      expect(svg).toContain('2 x &quot;fast&quot; &amp; Node');
      expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    }
  });

  test('in the README is of the run whose figures stand below it', () => {
    const [, figures = ''] =
      readFileSync('README.md', 'utf8').match(/<!-- begin picture -->\n([\s\S]*?)<!-- end picture -->/) ?? [];
    const [, total] = figures.match(/^backend restarts +(\d+)/m) ?? [];
    const [, machine] = figures.match(/^\(\d+ s on (.*)\.\)$/m) ?? [];
    const svg = readFileSync('docs/demo.svg', 'utf8');
    expect(figures).toContain('docs/demo.svg');
    expect(lines(svg, 'SIGTERM').length + lines(svg, 'SIGKILL').length).toBe(Number(total));
    expect(svg).toContain(`>${machine}<`);
  });
});
