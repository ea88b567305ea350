import assert from 'node:assert/strict';
import type { Guest } from '../drive/guest.js';
import { sleep } from '../drive/process.js';
import { IperfLoop, ping, Session, serve } from '../drive/traffic.js';
import { healthOf, StateWitness } from '../drive/witness.js';
import type { Dom0 } from './harness.js';

/** One way to end a backend process; resolves when the next process serves. */
export interface Ending {
  readonly name: string;
  /** Resolves when it may begin; what this takes is no part of the gap. */
  ready?(): Promise<void>;
  run(): Promise<void>;
}

/** `count` processes, each of which runs for a time that `runMs` draws. */
export interface Plan {
  readonly count: number;
  runMs(): number;
}

/** Each process runs until TCP is at full speed again: TCP doubles its retransmission timer with each loss. */
const RUN_MS = 6000;

/**
 * Ends processes, one after the other, under iperf and an interactive session. The guest must not notice: no reset, no line
 * lost, no carrier lost, no error counted, nothing in its dmesg, and its state Connected throughout.
 * @param howLong minutes, or how many processes.
 * @param states that the two ends may have; only Connected, unless a backend is known to pass through more.
 */
export async function trial(
  dom0: Dom0,
  guest: Guest,
  howLong: number | Plan,
  endings: readonly Ending[],
  states: readonly string[] = ['backend 4', 'frontend 4'],
): Promise<void> {
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  const witness = await StateWitness.open(dom0.store, guest);
  using session = await Session.open(guest);
  using load = new IperfLoop(guest, 10);

  const processes = await endProcesses(endings, howLong);
  await load.end();
  await session.end();
  const seen = await witness.end();

  for (const name of new Set(processes.map((ended) => ended.name))) {
    const mine = processes.filter((ended) => ended.name === name);
    const away = spread(mine.map(({ from, to }) => to - from));
    const silent = spread(mine.map(({ from, to }) => session.gapMs(from, to)));
    dom0.note(
      `${name}: ${mine.length} times; p50, p99, longest in s: away ${away}, session silent ${silent}`,
    );
  }
  const rates = load.rates.map(({ direction, mbits }) => `${direction} ${mbits.toFixed(0)}`);
  dom0.note(`iperf over all that, to and from the guest, Mbit/s: ${rates.join(', ')}`);
  assert.deepEqual(
    seen.filter((state) => !states.includes(state)),
    [],
    'a state was seen that the guest could act on',
  );
  assert.deepEqual(await healthOf(guest), before, 'the guest noticed');
}

interface Ended {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** Each way to end at least once, however slow the machine is. */
async function endProcesses(endings: readonly Ending[], howLong: number | Plan): Promise<Ended[]> {
  const processes: Ended[] = [];
  const plan = typeof howLong === 'number' ? untilThen(howLong) : howLong;
  while (processes.length < plan.count || processes.length < endings.length) {
    const ending = endings[processes.length % endings.length] as Ending;
    await sleep(plan.runMs());
    await ending.ready?.();
    const from = performance.now();
    await ending.run();
    processes.push({ name: ending.name, from, to: performance.now() });
  }
  await sleep(RUN_MS);
  return processes;
}

function untilThen(minutes: number): Plan {
  const end = performance.now() + minutes * 60_000;
  return {
    get count() {
      return performance.now() < end ? Number.POSITIVE_INFINITY : 0;
    },
    runMs: () => RUN_MS,
  };
}

/** `1.2, 3.4, 3.9`. */
export function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  return [0.5, 0.99, 1].map((share) => (at(share) / 1000).toFixed(1)).join(', ');
}
