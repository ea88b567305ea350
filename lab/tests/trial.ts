import assert from 'node:assert/strict';
import type { Guest } from './guest.js';
import type { Dom0 } from './harness.js';
import { sleep } from './process.js';
import { IperfLoop, ping, Session, serve } from './traffic.js';
import { healthOf, StateWitness } from './witness.js';

/** One way to end a backend's life; resolved when the next life serves. */
export interface Ending {
  readonly name: string;
  run(): Promise<void>;
}

/** A life is long enough to reach full speed again: TCP doubles its patience with each loss. */
const LIFE_MS = 6000;

/**
 * Ends lives, one after the other, under iperf and an interactive session. The guest must not notice: no reset, no line
 * lost, no carrier lost, no error counted, nothing in its dmesg, and its state Connected throughout.
 * @param states as seen of the two ends; only Connected, unless a backend is known for more.
 */
export async function trial(
  dom0: Dom0,
  guest: Guest,
  minutes: number,
  endings: readonly Ending[],
  states: readonly string[] = ['backend 4', 'frontend 4'],
): Promise<void> {
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  const witness = await StateWitness.open(dom0.store, guest);
  const session = await Session.open(guest);
  const load = new IperfLoop(guest, 10);

  const lives = await endLives(endings, minutes);
  await load.end();
  await session.end();
  const seen = await witness.end();

  for (const name of new Set(lives.map((life) => life.name))) {
    const mine = lives.filter((life) => life.name === name);
    const away = median(mine.map(({ from, to }) => to - from));
    const silent = median(mine.map(({ from, to }) => session.gapMs(from, to)));
    dom0.note(`${name}: ${mine.length} times, away for ${away} s, session silent for ${silent} s (medians)`);
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
async function endLives(endings: readonly Ending[], minutes: number): Promise<Life[]> {
  const lives: Life[] = [];
  const end = performance.now() + minutes * 60_000;
  while (performance.now() < end || lives.length < endings.length) {
    const ending = endings[lives.length % endings.length] as Ending;
    await sleep(LIFE_MS);
    const from = performance.now();
    await ending.run();
    lives.push({ name: ending.name, from, to: performance.now() });
  }
  await sleep(LIFE_MS);
  return lives;
}

function median(values: number[]): string {
  return ((values.sort((a, b) => a - b)[values.length >> 1] ?? 0) / 1000).toFixed(1);
}
