import assert from 'node:assert/strict';
import type { Guest } from './guest.js';
import type { Dom0, Test } from './harness.js';
import { sleep } from './process.js';
import { IperfLoop, ping, Session, serve } from './traffic.js';
import { healthOf, StateWitness } from './witness.js';

/** Item 3: the test of the patch that gave Linux's netback its unbind and bind, for a daemon that is also killed. */
export const restartTests: Test[] = [
  {
    name: 'two minutes of stops, kills and updates under iperf and an interactive session: no reset',
    boot: 'alone',
    run: restarts,
  },
];

const MINUTES = 2;
/** A life long enough to reach full speed again: TCP doubles its patience with each loss. */
const LIFE_MS = 6000;

type Ending = 'stop' | 'kill' | 'update';
const ENDINGS: readonly Ending[] = ['stop', 'kill', 'update', 'kill'];

async function restarts(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  const states = await StateWitness.open(dom0.store, guest);
  const session = await Session.open(guest);
  const load = new IperfLoop(guest, 10);

  const gaps = await endLives(dom0, session);
  await load.end();
  await session.end();

  for (const [ending, found] of gaps) dom0.note(`${ending}: ${summary(found)}`);
  dom0.note(
    `iperf, Mbit/s: ${load.rates.map(({ direction, mbits }) => `${direction} ${mbits.toFixed(0)}`).join(', ')}`,
  );
  assert.deepEqual(await states.end(), ['backend 4', 'frontend 4'], 'a state was seen that is not Connected');
  assert.deepEqual(await healthOf(guest), before, 'the guest noticed');
  assert.deepEqual(dom0.vifd.errors(), []);
  assertResumed(dom0, guest);
}

/** @returns for each kind of ending, how long nobody served and how long the session had no answer. */
async function endLives(dom0: Dom0, session: Session): Promise<Map<Ending, Gap[]>> {
  const lives: { ending: Ending; from: number; to: number; away: number }[] = [];
  const end = performance.now() + MINUTES * 60_000;
  for (let life = 0; performance.now() < end; life++) {
    await sleep(LIFE_MS);
    const ending = ENDINGS[life % ENDINGS.length] ?? 'kill';
    const from = performance.now();
    await dom0.vifd.stop(ending === 'kill' ? 'SIGKILL' : 'SIGTERM');
    if (ending === 'update') dom0.vifd.update();
    await dom0.vifd.start();
    const away = performance.now() - from;
    lives.push({ ending, from, to: performance.now(), away });
  }
  await sleep(LIFE_MS);
  const gaps = new Map<Ending, Gap[]>();
  for (const { ending, from, to, away } of lives) {
    gaps.set(ending, [...(gaps.get(ending) ?? []), { away, silent: session.gapMs(from, to) }]);
  }
  return gaps;
}

interface Gap {
  readonly away: number;
  readonly silent: number;
}

function summary(gaps: readonly Gap[]): string {
  const median = (values: number[]) => (values.sort((a, b) => a - b)[values.length >> 1] ?? 0) / 1000;
  const away = median(gaps.map((gap) => gap.away)).toFixed(1);
  const silent = median(gaps.map((gap) => gap.silent)).toFixed(1);
  return `${gaps.length} times, nobody served for ${away} s, the session was silent for ${silent} s (medians)`;
}

function assertResumed(dom0: Dom0, guest: Guest): void {
  const attached = dom0.vifd.events.filter(({ event, vif }) => event === 'attached' && vif === guest.vif);
  const fresh = attached.filter(({ resumed }) => resumed !== true);
  assert.ok(attached.length > 5, `attached only ${attached.length} times`);
  assert.ok(fresh.length <= 1, 'a life began the rings anew');
}
