/**
 * The bench's attacks in short, for the tests: `check.js [MODE...]`. Each attacks for a second beside a victim that is pinged; then an
 * ordinary guest uses the attacker's vif. Prints a Checked as a line of JSON for each mode. Ends with 77 where it cannot make namespaces.
 */
import { enterNamespaces, isInside } from '../../programs/namespaces.js';
import { preflight } from '../../programs/preflight.js';
import { EXIT_SKIPPED } from '../../programs/run-program.js';
import { ATTACKS, type Attack } from './attacks/index.js';
import type { Tally } from './messages.js';
import { NeighbourWorld } from './neighbour-world.js';
import { ATTACKERS, addressOf, VICTIM } from './plan.js';

const NAME = 'bench';
const VICTIM_PINGS = { address: addressOf(VICTIM.domid), count: 100, everyMs: 10 };
const SUCCESSOR_PINGS = { address: addressOf(ATTACKERS.beside.domid), count: 20, everyMs: 10 };

export interface Checked {
  readonly mode: string;
  /** What the attacker did, by its own count; null: the mode has nothing to count. */
  readonly count: number | null;
  readonly victimLost: number;
  readonly vifdRuns: boolean;
  /** What vifd logged from the attacker's connecting on. */
  readonly lines: readonly string[];
  /** Of the pings of the guest that used the attacker's vif after it. */
  readonly successorLost: number;
}

async function check(world: NeighbourWorld, { name, counts, receives = 0 }: Attack): Promise<Checked> {
  const { daemon } = world;
  const before = daemon.lines.length;
  const attacker = await world.attack(name, 'beside');
  const { lost: victimLost } = await world.ping({
    ...VICTIM_PINGS,
    besides: { address: SUCCESSOR_PINGS.address, datagrams: receives },
  });
  const { count } = await attacker.ask<Tally>({});
  const successor = await world.succeed(attacker, 'beside');
  const { lost: successorLost } = await world.ping(SUCCESSOR_PINGS);
  await world.endAttack(successor, 'beside');
  return {
    mode: name,
    count: counts === '-' ? null : count,
    victimLost,
    vifdRuns: daemon.running,
    lines: daemon.lines.slice(before).map(({ text }) => text),
    successorLost,
  };
}

async function main(modes: readonly string[]): Promise<void> {
  await using world = await NeighbourWorld.open();
  for (const attack of ATTACKS) {
    if (modes.length > 0 && !modes.includes(attack.name)) continue;
    process.stdout.write(`${JSON.stringify(await check(world, attack))}\n`);
  }
}

async function whatIsMissing(): Promise<string | undefined> {
  const verdict = await preflight();
  return verdict.ok ? undefined : verdict.because;
}

if (isInside(NAME)) await main(process.argv.slice(2));
else {
  const missing = await whatIsMissing();
  if (missing !== undefined) process.stderr.write(`skipped: ${missing}\n`);
  process.exitCode =
    missing === undefined
      ? await enterNamespaces({ name: NAME, url: import.meta.url, args: process.argv.slice(2) })
      : EXIT_SKIPPED;
}
