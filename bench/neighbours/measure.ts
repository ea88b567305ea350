import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attacks/index.js';
import type { RoundTrips, Tally } from './messages.js';
import type { NeighbourWorld } from './neighbour-world.js';
import { ARMS, type Arm, ATTACKERS, addressOf, VICTIM } from './plan.js';

/** How much is measured. */
export interface Effort {
  readonly rounds: number;
  readonly pings: number;
  readonly everyMs: number;
}

/** What one arm found in one round. */
export interface Turn extends RoundTrips {
  /** What the attacker did meanwhile, a second, in the attack's unit (`counts`). */
  readonly rate: number;
}

export interface ModeTurns {
  readonly mode: string;
  readonly counts: string;
  /** By arm, then by round: round i of both is a pair. */
  readonly turns: Readonly<Record<Arm, readonly Turn[]>>;
}

/** An attack runs so long before pings count: it has connected, and V8 has compiled what it meets most. */
const SETTLE_MS = 500;

/** Both arms in turns, each before the other in every second round. */
export async function measureMode(
  world: NeighbourWorld,
  attack: Attack,
  effort: Effort,
  onTurn: (turns: number) => void,
): Promise<ModeTurns> {
  const turns: Record<Arm, Turn[]> = { beside: [], apart: [] };
  for (let round = 0; round < effort.rounds; round++) {
    for (const arm of round % 2 === 0 ? ARMS : ARMS.toReversed()) {
      turns[arm].push(await turn(world, attack, arm, effort));
      onTurn(turns.beside.length + turns.apart.length);
    }
  }
  return { mode: attack.name, counts: attack.counts, turns };
}

async function turn(
  world: NeighbourWorld,
  { name, receives = 0 }: Attack,
  arm: Arm,
  { pings, everyMs }: Effort,
): Promise<Turn> {
  const attacker = await world.attack(name, arm);
  await sleep(SETTLE_MS);
  const before = await attacker.ask<Tally>({});
  const besides = { address: addressOf(ATTACKERS[arm].domid), datagrams: receives };
  const found = await world.ping({ address: addressOf(VICTIM.domid), count: pings, everyMs, besides });
  const after = await attacker.ask<Tally>({});
  await world.endAttack(attacker, arm);
  const rate = ((after.count - before.count) / (after.atMs - before.atMs)) * 1000;
  return { ...found, rate };
}

/** @returns the percentile of all pings; a lost ping counts as infinite. */
export function percentile({ rttMs, lost }: RoundTrips, share: number): number {
  const sorted = rttMs.toSorted((a, b) => a - b);
  return sorted[Math.ceil(share * (sorted.length + lost)) - 1] ?? Number.POSITIVE_INFINITY;
}
