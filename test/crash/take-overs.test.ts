import { describe, expect, it } from 'vitest';
import { runTakeOver } from '../../sim/take-over/run-take-over.js';
import {
  exhaustTakeOvers,
  TAKE_OVERS,
  type TakeOverShape,
  tryWrongTakeOver,
  VICTIMS,
  WRONG_TAKE_OVERS,
} from '../../sim/take-over/take-overs.js';

/** `npm run sim` runs all of them. */
const [SHORT] = TAKE_OVERS as [TakeOverShape];

describe(`a take-over, ${SHORT.name}`, () => {
  it.each(VICTIMS)(
    'with kills at every step of a process (%s): nothing wrong, nothing lost',
    async (victim) => {
      const tally = await exhaustTakeOvers(SHORT, victim);
      console.log(`${victim}: ${tally.runs} runs, ${tally.kills} kills, ${tally.violations} violations`);
      expect(tally.failures).toEqual([]);
      expect(tally.violations).toBe(0);
      expect(tally.lostFromGuest).toBe(0);
      expect(tally.kills).toBeGreaterThan(50);
    },
    600_000,
  );
});

/** How each wrong take-over shows. */
const FOUND_BY: Readonly<Record<string, RegExp>> = {
  'does not unmask the event channels': /frames still wait/,
  'serves before the fence': /runs .* after the next one has begun/,
  'keeps the channels that the next worker got': /stopped until its guest connects again/,
};

it.each(WRONG_TAKE_OVERS)(
  'finds a take-over that %s',
  async (wrong) => {
    const { found, kills } = await tryWrongTakeOver(wrong, SHORT);
    console.log(`${wrong}: ${kills} kills, at step ${found?.atStep}: ${found?.fault}`);
    expect(found?.fault).toMatch(FOUND_BY[wrong]);
  },
  120_000,
);

it('the same plan is the same run each time, step by step', async () => {
  const { scenario } = TAKE_OVERS.find(({ long }) => long)!;
  const plan = { scenario, workers: [{ atStep: 200, sign: 'claim' }] } as const;
  const runs = [await runTakeOver(plan), await runTakeOver(plan)];
  expect(runs[1]).toEqual(runs[0]);
  expect(runs[0]!.trace.length).toBeGreaterThan(0);
});
