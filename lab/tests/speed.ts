import assert from 'node:assert/strict';
import { type Effort, MEASURES } from '../bench/measure.js';
import { subjectsOf } from '../bench/subjects.js';
import { guestForTurns, takeTurns } from '../bench/turns.js';
import { figureOf, type Results, table } from '../bench/xen-report.js';
import type { Dom0, Test } from './harness.js';

/** Item 7, in short: prints the table of one round. `npm run bench:xen` prints that of docs/benchmarks.md, of more rounds. */
export const speedTests: Test[] = [
  {
    name: "the speed of xen-netback, vifd (copy, map) and QEMU's netback, in turns at one guest",
    boot: 'speed',
    seconds: 480,
    run: inTurns,
  },
];

const BRIEF: Effort = {
  rounds: 1,
  tcpSeconds: 4,
  udpSeconds: 2,
  pings: 10,
  warmUps: { least: 2, most: 5 },
};

/** docs/benchmarks.md has 41 and more in medians of rounds; a single round on a machine with other work scatters. */
const TIMES_QEMU = 8;

async function inTurns(dom0: Dom0): Promise<void> {
  const subjects = await subjectsOf({
    guest: await guestForTurns(),
    builds: [{ name: '', folder: '/mnt/vifd' }],
  });
  const turns = await takeTurns(subjects, BRIEF, (text) => dom0.note(text));
  const results: Results = { where: {}, subjects: subjects.map(({ name }) => name), turns };
  for (const line of table(results).split('\n')) dom0.note(line);
  for (const subject of ['vifd copy', 'vifd map']) hasAll(results, subject);
  for (const key of ['tcpFrom', 'tcpTo'] as const) {
    const [ours = 0, qemus = 0] = ['vifd copy', 'QEMU'].map((name) => figureOf(results, name, key)?.median);
    assert.ok(qemus > 0, `QEMU's netback has no ${key}`);
    assert.ok(ours > TIMES_QEMU * qemus, `${key}: ${ours} Mbit/s, and QEMU's ${qemus}`);
  }
}

/** A part that failed is left out of a turn. */
function hasAll(results: Results, subject: string): void {
  const missing = MEASURES.filter(({ key }) => !((figureOf(results, subject, key)?.median ?? 0) > 0));
  assert.deepEqual(
    missing.map(({ title }) => title.trim()),
    [],
    `${subject} moved nothing in these`,
  );
}
