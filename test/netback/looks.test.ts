import { describe, expect, it } from 'vitest';
import { Allowance } from '../../lib/netback/guest/allowance.js';
import { FREE_LOOKS, Looks } from '../../lib/netback/vif/looks.js';
import { TestClock, turns } from '../store/fake-daemon.js';

describe('looks', () => {
  // Promises settle one after the other: a change may come between the end of a look and the end of the run that made it.
  it.each(Array.from({ length: 8 }, (_, ticks) => ticks))(
    'miss no change that comes %i microtasks after one ends',
    async (ticks) => {
      const clock = new TestClock();
      let looks = 0;
      let end = (): void => {};
      const looking = new Looks(clock, new Allowance(clock, 10, 1), () => {
        looks++;
        return new Promise((resolve) => {
          end = resolve;
        });
      });
      void looking.poke();
      await turns();
      end();
      for (let i = 0; i < ticks; i++) await undefined;
      void looking.poke();
      await turns();
      expect(looks).toBe(2);
    },
  );

  it('none begins after the end, whatever was put off', async () => {
    const clock = new TestClock();
    let looks = 0;
    const looking = new Looks(clock, new Allowance(clock, 1, 100), async () => {
      looks++;
    });
    for (let i = 0; i < FREE_LOOKS + 2; i++) await looking.poke();
    looking.end();
    await clock.advance(1000);
    expect([looks, clock.timers]).toEqual([FREE_LOOKS + 1, 0]);
  });
});
