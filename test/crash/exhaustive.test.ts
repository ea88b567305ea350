import { describe, expect, it } from 'vitest';
import { runLives, type Scenario } from './crash-world.js';

const BATCH_SLOTS = 128;
/** Indices wrap while the frames cross. */
const NEAR_WRAP = 0xfffffffe;

const SCENARIOS: ReadonlyArray<readonly [name: string, scenario: Omit<Scenario, 'payload' | 'journal'>]> = [
  ['one frame each way', { sizes: [60], frames: 1, ringStart: 0 }],
  [
    'frames of one and of many slots, GSO, indices that wrap',
    { sizes: [60, 9000, 1514], frames: 6, ringStart: NEAR_WRAP },
  ],
];

/** All that a guest may notice of a kill: frames of one batch sent twice, and frames on their way to it lost. */
function expectSound(outcome: Awaited<ReturnType<typeof runLives>>, frames: number, kills: number): void {
  expect(outcome.violations).toEqual([]);
  expect(outcome.errors).toEqual([]);
  expect(outcome.fromGuest).toMatchObject({ next: frames, lost: 0, reordered: 0, damaged: 0, foreign: 0 });
  expect(outcome.fromGuest.repeated).toBeLessThanOrEqual(BATCH_SLOTS * kills);
  expect(outcome.toGuest).toMatchObject({ reordered: 0, damaged: 0, foreign: 0, repeated: 0 });
}

describe.each(['copy', 'map'] as const)('killed at every step, payload by %s', (payload) => {
  it.each(SCENARIOS)(
    '%s: nothing wrong, nothing lost that was said to be sent',
    async (_name, shape) => {
      const scenario = { ...shape, payload, journal: true };
      const { steps } = await runLives(scenario, []);
      for (let kill = 1; kill <= steps; kill++) {
        expectSound(await runLives(scenario, [kill]), shape.frames, 1);
      }
      console.log(`${payload}: ${steps} kill points, 0 violations`);
    },
    60_000,
  );

  it('killed again at every step of the life that mends: the same', async () => {
    const scenario = { sizes: [9000], frames: 1, ringStart: NEAR_WRAP, payload, journal: true };
    const { steps } = await runLives(scenario, []);
    let tried = 0;
    for (let first = 1; first <= steps; first++) {
      const second = (await runLives(scenario, [first])).steps;
      for (let kill = 1; kill <= second; kill++, tried++) {
        expectSound(await runLives(scenario, [first, kill]), 1, 2);
      }
    }
    console.log(`${payload}: ${tried} pairs of kill points, 0 violations`);
  }, 300_000);

  it('finds the fault without a journal: the proof can fail', async () => {
    const scenario = { sizes: [60], frames: 3, ringStart: 0, payload, journal: false };
    const { steps } = await runLives(scenario, []);
    let wrong = 0;
    for (let kill = 1; kill <= steps; kill++) {
      const { violations, errors } = await runLives(scenario, [kill]);
      if (violations.length + errors.length > 0) wrong++;
    }
    expect(wrong).toBeGreaterThan(0);
  }, 60_000);
});
