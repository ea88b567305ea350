import { expect, it } from 'vitest';
import { runScenario } from '../../sim/run-scenario.js';
import { type LifePlan, NO_FAULTS, PLAIN_GUEST } from '../../sim/scenario.js';

const LIVES = 40;
const BURST = 6_250;
/** Each life sends two bursts, both ways. */
const FRAMES = LIVES * 2 * 2 * BURST;

it('40 orderly stops under way: of a million frames none is lost and none comes twice, in either direction', async () => {
  const lives = Array.from(
    { length: LIVES },
    (_, life): LifePlan => ({
      end: 'stop',
      atStep: 500 + life * 397,
      lastsMs: 0,
      bursts: ['before', 'after'],
      reboot: undefined,
      harm: undefined,
    }),
  );
  const outcome = await runScenario({
    seed: 1,
    order: undefined,
    payload: 'copy',
    journal: true,
    // With few buffers and late, so that lives end with frames that they hold for the guest.
    guests: [
      { ...PLAIN_GUEST, fromGuest: BURST, toGuest: BURST, buffersMax: 100, lateMs: 1, ringStart: 0xffffff00 },
    ],
    faults: NO_FAULTS,
    hook: 'none',
    lives,
  });
  expect(outcome.faults).toEqual([]);
  expect(outcome.stops).toBe(LIVES + 1);
  expect(outcome.frames).toBeGreaterThanOrEqual(FRAMES);
  expect(outcome.lost).toEqual({ fromGuest: 0, toGuest: 0 });
  expect(outcome.repeated).toEqual({ fromGuest: 0, toGuest: 0 });
}, 120_000);
