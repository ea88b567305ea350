import { expect, it } from 'vitest';
import { Silence } from '../../bench/gap/silence.js';
import { WORKER_FAULTS } from '../../bench/gap/worker-faults.js';
import { workerReport, workerTable } from '../../bench/gap/worker-report.js';

it('a silence begins with the last frame before it was asked for', () => {
  const silence = new Silence();
  for (const ms of [10, 40, 41]) silence.hear(ms);
  expect(silence.longestMs).toBe(30);
  silence.begin();
  for (const ms of [60, 61]) silence.hear(ms);
  expect([silence.longestMs, silence.heardMs]).toEqual([19, 61]);
});

it('the gap of a worker that hangs counts from the notice on, that of one that is killed from the last frame on', () => {
  const all = ['SIGKILL', 'SIGSTOP'].map((name) => ({
    fault: WORKER_FAULTS.find((fault) => fault.name === name)!,
    ...{ vifs: 1, fromGuestMs: [1020, 20], toGuestMs: [1010, 22], noticedMs: [20, 10] },
    ...{ bareStartMs: [40, 40], violations: 1 },
  }));
  const report = workerReport(all, 'copy');
  expect(report.rows.map(({ ratio }) => [ratio.p50, ratio.max])).toEqual([
    [0.55, 25.5],
    [0.25, 0.5],
  ]);
  expect(report.rows[0]).toMatchObject({ death: 'SIGKILL', rounds: 2, violations: 1 });
  expect(workerTable(report)).toMatch(/^SIGSTOP +1 +20\.0 .* 2 +1$/m);
});
