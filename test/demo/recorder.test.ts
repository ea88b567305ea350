import { describe, expect, test } from 'vitest';
import { machineMs } from '../../demo/clock.js';
import { killLine, sparkline } from '../../demo/draw.js';
import { Recorder } from '../../demo/recorder.js';

describe('gaps', () => {
  test('belong to the restarts whose time they reach into, and the longest counts', () => {
    const recorder = new Recorder();
    const stream = recorder.addStream('host', 'guest');
    const before = machineMs();
    recorder.received(stream, 1, [[before, before + 0.5]]);
    const first = recorder.restarting('SIGTERM');
    recorder.received(stream, 1, [
      [first.atMs - 3, first.atMs + 40],
      [first.atMs + 50, first.atMs + 55],
    ]);
    const second = recorder.restarting('SIGKILL');
    recorder.received(stream, 1, [[second.atMs + 1, second.atMs + 21]]);
    expect(first.gapMs).toBeCloseTo(43);
    // Receivers report a silence again when it ends: this one had not ended at the second restart.
    recorder.received(stream, 0, [[first.atMs - 3, second.atMs + 40]]);
    expect(second.gapMs).toBeCloseTo(second.atMs - first.atMs + 43);
  });

  test('before the first restart are counted separately', () => {
    const recorder = new Recorder();
    const stream = recorder.addStream('host', 'guest');
    recorder.begin();
    const now = machineMs();
    recorder.received(stream, 1, [
      [now - 500, now],
      [now + 1, now + 8],
    ]);
    expect(recorder.quietGapMs).toBeCloseTo(7);
    expect(recorder.restarts).toEqual([]);
  });
});

describe('the picture', () => {
  test('has a bar for each value, and none for nothing', () => {
    expect(sparkline([0, 1, 4, 8], 8)).toBe(' ▁▄█');
    expect(sparkline([0, 0], 0)).toBe('  ');
  });

  test('marks where processes ended', () => {
    const recorder = new Recorder();
    recorder.begin();
    recorder.restarting('SIGTERM');
    expect(killLine(recorder, 0, 5)).toBe('T    ');
  });
});
