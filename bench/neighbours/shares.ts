import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../measure.js';
import type { Counted } from './messages.js';
import type { NeighbourWorld } from './neighbour-world.js';

/** Queues of two guests that flood. */
const PAIRS = [
  [1, 1],
  [1, 4],
  [1, 8],
] as const;
const SETTLE_MS = 1000;
const MEASURED_MS = 2000;

/** What two flooders of one vifd got: medians over the rounds. */
export interface ShareReport {
  readonly queues: readonly [number, number];
  /** Thousands of responses a second. */
  readonly kpps: readonly [number, number];
  /** Of the second guest's to the first's. */
  readonly ratio: number;
}

/** Measures each pair in turns. */
export async function measureShares(
  world: NeighbourWorld,
  rounds: number,
  onRound: (rounds: number) => void,
): Promise<ShareReport[]> {
  const found = PAIRS.map(() => [] as [number, number][]);
  for (let round = 0; round < rounds; round++) {
    for (const [i, pair] of PAIRS.entries()) found[i].push(await share(world, pair));
    onRound(round + 1);
  }
  return PAIRS.map((queues, i) => ({
    queues,
    kpps: [median(found[i].map(([first]) => first)), median(found[i].map(([, second]) => second))],
    ratio: median(found[i].map(([first, second]) => second / first)),
  }));
}

async function share(world: NeighbourWorld, queues: readonly number[]): Promise<[number, number]> {
  const flooders = await world.flood(queues);
  await sleep(SETTLE_MS);
  const before = await flooders.ask<Counted>({});
  await sleep(MEASURED_MS);
  const after = await flooders.ask<Counted>({});
  await world.endFlood(flooders);
  const [first, second] = after.frames.map((frames, i) => frames - before.frames[i]);
  const ms = after.atMs - before.atMs;
  return [first / ms, second / ms];
}
