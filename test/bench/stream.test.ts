import { expect, it } from 'vitest';
import { SilenceRecorder } from '../../bench/stream/silence-recorder.js';
import { streamReport, streamText } from '../../bench/stream/stream-report.js';

it('the longest silence is that of any stream, and counts whole if it reaches into the time', () => {
  const recorder = new SilenceRecorder();
  recorder.addStream('host', 'guest 1');
  recorder.received(0, 10, [
    [0, 90],
    [95, 120],
  ]);
  recorder.received(0, 10, [[190, 230]]);
  expect(recorder.longestMs(100, 200)).toBe(40);
  expect(recorder.longestMs(240, 300)).toBe(0);
  recorder.forget();
  expect(recorder.longestMs(100, 200)).toBe(0);
  expect(recorder.bytes).toBe(20);
});

it('the report compares the longest silences, and counts the deaths of supervisors apart', () => {
  const rounds = [
    { of: 'worker', quietMs: 10, deathMs: 20 },
    { of: 'worker', quietMs: 20, deathMs: 60 },
    { of: 'supervisor', quietMs: 15, deathMs: 100 },
  ] as const;
  const facts = { where: {}, guests: 2, load: 1, resets: 0, violations: 0, differingBytes: 0 };
  const report = streamReport(rounds, facts);
  expect(report).toMatchObject({ longestRatio: 3, holds: true, supervisorMs: { max: 100 } });
  expect(streamText(report)).toContain('3.0 of the longest, 1.3 of the medians  ok');
  const worse = streamReport([{ of: 'worker', quietMs: 10, deathMs: 31 }], facts);
  expect(worse.holds).toBe(false);
  expect(streamText(worse)).toContain('TOO LONG');
  expect(streamText(worse)).not.toContain('supervisor');
});
