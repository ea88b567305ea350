import { describe, expect, it } from 'vitest';
import { exhaust, exhaustiveOf } from '../../sim/exhaustive.js';

/** Long scenarios run here with one payload mode, and with both by `npm run sim`. */
const LONG_FOR = 'copy';

describe.each(['copy', 'map'] as const)('killed at every step, payload by %s', (payload) => {
  const shapes = exhaustiveOf(payload).filter(({ long }) => !long || payload === LONG_FOR);
  it.each(shapes.map((one) => [one.name, one] as const))(
    '%s: nothing wrong, no frame lost with the response "sent"',
    async (_name, one) => {
      const tally = await exhaust(one, { fromAttach: one.twice });
      console.log(`${payload}: ${tally.kills} kill points, ${tally.violations} violations`);
      expect(tally.failures).toEqual([]);
      expect(tally.violations).toBe(0);
      expect(tally.lostFromGuest).toBe(0);
      expect(tally.kills).toBeGreaterThan(50);
    },
    300_000,
  );
});
