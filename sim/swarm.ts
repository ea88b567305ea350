import { drawScenario } from './draw.js';
import { replayOf } from './options.js';
import { runScenario } from './run-scenario.js';
import { Tally } from './tally.js';

export interface Swarm {
  readonly seed: number;
  readonly seeds: number;
  readonly kills: number;
}

/** Runs the scenarios of many seeds. */
export async function runSwarm(swarm: Swarm, onRun = () => {}): Promise<Tally> {
  const tally = new Tally();
  for (let i = 0; i < swarm.seeds; i++) {
    const seed = swarm.seed + i;
    tally.add(replayOf(seed, swarm), await runScenario(drawScenario(seed, swarm.kills)));
    onRun();
  }
  return tally;
}
