import { expect, it } from 'vitest';
import { runScenario } from '../../sim/run-scenario.js';
import { NO_FAULTS, PLAIN_GUEST, type ProcessPlan } from '../../sim/scenario.js';

const PROCESSES = 40;
const BURST = 6_250;
/** The guests send two bursts to each process, in both directions. */
const FRAMES = PROCESSES * 2 * 2 * BURST;

it('40 orderly stops under way: of a million frames none is lost and none comes twice, in either direction', async () => {
  const processes = Array.from(
    { length: PROCESSES },
    (_, process): ProcessPlan => ({
      end: 'stop',
      atStep: 500 + process * 397,
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
    // With few buffers and late, so that processes end with frames pending for the guest.
    guests: [
      { ...PLAIN_GUEST, fromGuest: BURST, toGuest: BURST, buffersMax: 100, lateMs: 1, ringStart: 0xffffff00 },
    ],
    faults: NO_FAULTS,
    hook: 'none',
    processes,
  });
  expect(outcome.faults).toEqual([]);
  expect(outcome.stops).toBe(PROCESSES + 1);
  expect(outcome.frames).toBeGreaterThanOrEqual(FRAMES);
  expect(outcome.lost).toEqual({ fromGuest: 0, toGuest: 0 });
  expect(outcome.repeated).toEqual({ fromGuest: 0, toGuest: 0 });
}, 120_000);
