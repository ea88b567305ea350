import { describe, expect, it } from 'vitest';
import { exhaust, exhaustiveOf } from '../../sim/exhaustive.js';

/** Pairs of steps are tens of thousands: `npm run sim` tries them for both ways to bring payload, this test for one. */
const PAIRS_OF = 'copy';

describe.each(['copy', 'map'] as const)('killed at every step, payload by %s', (payload) => {
  const shapes = exhaustiveOf(payload).filter(({ twice }) => !twice || payload === PAIRS_OF);
  it.each(shapes.map((one) => [one.name, one] as const))(
    '%s: nothing wrong, nothing lost that was said to be sent',
    async (_name, one) => {
      const tally = await exhaust(one);
      console.log(`${payload}: ${tally.kills} kill points, ${tally.violations} violations`);
      expect(tally.failures).toEqual([]);
      expect(tally.violations).toBe(0);
      expect(tally.lostFromGuest).toBe(0);
      expect(tally.kills).toBeGreaterThan(50);
    },
    300_000,
  );
});
