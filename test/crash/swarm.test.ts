import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { drawScenario } from '../../sim/draw.js';
import { parseOptions, replayOf } from '../../sim/options.js';
import { runScenario } from '../../sim/run-scenario.js';
import { reportJson, reportText } from '../../sim/sim-report.js';
import { runSwarm } from '../../sim/swarm.js';
import { Tally } from '../../sim/tally.js';

const ALL_KILLS = 9;

describe('drawn scenarios', () => {
  it('keep every promise, with faults, kills, reboots and spoilt journals', async () => {
    const tally = await runSwarm({ seed: 1, seeds: 200, kills: ALL_KILLS });
    console.log(`${tally.kills} kill points, ${tally.frames} frames`);
    expect(tally.failures).toEqual([]);
    expect(tally.violations).toBe(0);
    expect(tally.kills).toBeGreaterThan(100);
  }, 240_000);

  it('that only stop in order lose and repeat nothing', async () => {
    const tally = await runSwarm({ seed: 5000, seeds: 50, kills: 0 });
    expect(tally.failures).toEqual([]);
    expect(tally.stops).toBeGreaterThan(100);
    expect(tally.repeated).toBe(0);
  }, 60_000);

  it.each([3, 9, 240, 312])('of seed %i are the same run each time, step by step', async (seed) => {
    const runs = [await runScenario(drawScenario(seed, 9)), await runScenario(drawScenario(seed, 9))];
    expect(runs[1]).toEqual(runs[0]);
    expect(runs[0].trace.length).toBeGreaterThan(0);
  });

  it('differ from seed to seed', () => {
    const drawn = Array.from({ length: 100 }, (_, seed) =>
      JSON.stringify({ ...drawScenario(seed, 9), seed: 0 }),
    );
    expect(new Set(drawn).size).toBe(100);
  });
});

describe('the report', () => {
  it('has a line for each part, and how to see a failure again', () => {
    const tally = new Tally();
    const outcome = {
      ...{ steps: 5, attachStep: 2, kills: 1, stops: 1, frames: 2 },
      ...{ repeated: { fromGuest: 1, toGuest: 0 }, lost: { fromGuest: 0, toGuest: 0 }, dropped: 0 },
      faults: ['vif7.0: wrong-id: id 1'],
      trace: ['process 0 step 4: events.notify'],
    };
    tally.add(replayOf(77, { kills: 9 }), outcome);
    const parts = [{ name: '1 drawn scenarios', tally, seconds: 1.5 }];
    const text = reportText(parts);
    const [titles, line] = text.split('\n');
    expect(line.length).toBe(titles.length);
    expect(text).toContain('\nnpm run sim -- --seed 77\n  ! vif7.0: wrong-id: id 1\n');
    expect(text).toContain('    process 0 step 4: events.notify\n');
    expect(JSON.parse(reportJson(parts))).toMatchObject({
      parts: [{ violations: 1, kills: 1, repeated: 1 }],
    });
  });

  it('takes one seed for a replay, and reports options that it cannot use', () => {
    expect(parseOptions(['--seed', '12'])).toMatchObject({ seed: 12, seeds: 1, exhaustive: false });
    expect(parseOptions(['--seeds', '12'])).toMatchObject({ seed: 1, seeds: 12, exhaustive: true });
    expect(replayOf(12, { kills: 2 })).toBe('npm run sim -- --seed 12 --kills 2');
  });
});

const root = fileURLToPath(new URL('../..', import.meta.url));

it('npm run sim ends with 2 for options that it cannot use, and with 0 when all is well', () => {
  const sim = (...args: string[]) =>
    spawnSync(process.execPath, ['scripts/sim.mjs', ...args], { cwd: root, encoding: 'utf8' });
  const wrong = sim('--seeds', 'many');
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toContain('Give a whole number');
  const { status, stdout } = sim('--seeds', '3', '--no-exhaustive', '--json');
  expect(status).toBe(0);
  expect(JSON.parse(stdout).parts[0]).toMatchObject({ runs: 3, violations: 0 });
  expect(existsSync(`${root}/build/sim/sim/main.js`)).toBe(true);
}, 120_000);
