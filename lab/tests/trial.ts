import assert from 'node:assert/strict';
import type { Guest } from '../drive/guest.js';
import { sleep } from '../drive/process.js';
import { IperfLoop, ping, Session, serve } from '../drive/traffic.js';
import { healthOf, StateWitness } from '../drive/witness.js';
import type { Dom0 } from './harness.js';

/** One way to end a backend's life; resolved when the next life serves. */
export interface Ending {
  readonly name: string;
  run(): Promise<void>;
}

/** So many lives, each as long as drawn. */
export interface Lives {
  readonly count: number;
  lifeMs(): number;
}

/** A life is long enough to reach full speed again: TCP doubles its patience with each loss. */
const LIFE_MS = 6000;

/**
 * Ends lives, one after the other, under iperf and an interactive session. The guest must not notice: no reset, no line
 * lost, no carrier lost, no error counted, nothing in its dmesg, and its state Connected throughout.
 * @param howLong minutes, or how many lives.
 * @param states as seen of the two ends; only Connected, unless a backend is known for more.
 */
export async function trial(
  dom0: Dom0,
  guest: Guest,
  howLong: number | Lives,
  endings: readonly Ending[],
  states: readonly string[] = ['backend 4', 'frontend 4'],
): Promise<void> {
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  const witness = await StateWitness.open(dom0.store, guest);
  using session = await Session.open(guest);
  using load = new IperfLoop(guest, 10);

  const lives = await endLives(endings, howLong);
  await load.end();
  await session.end();
  const seen = await witness.end();

  for (const name of new Set(lives.map((life) => life.name))) {
    const mine = lives.filter((life) => life.name === name);
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

interface Life {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** Each ending at least once, however slow the machine is. */
async function endLives(endings: readonly Ending[], howLong: number | Lives): Promise<Life[]> {
  const lives: Life[] = [];
  const plan = typeof howLong === 'number' ? untilThen(howLong) : howLong;
  while (lives.length < plan.count || lives.length < endings.length) {
    const ending = endings[lives.length % endings.length] as Ending;
    await sleep(plan.lifeMs());
    const from = performance.now();
    await ending.run();
    lives.push({ name: ending.name, from, to: performance.now() });
  }
  await sleep(LIFE_MS);
  return lives;
}

function untilThen(minutes: number): Lives {
  const end = performance.now() + minutes * 60_000;
  return {
    get count() {
      return performance.now() < end ? Number.POSITIVE_INFINITY : 0;
    },
    lifeMs: () => LIFE_MS,
  };
}

/** `1.2, 3.4, 3.9`. */
function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  return [0.5, 0.99, 1].map((share) => (at(share) / 1000).toFixed(1)).join(', ');
}
