import { expect, it } from 'vitest';
import { runScenario } from '../../sim/run-scenario.js';
import { plainScenario } from '../../sim/scenario.js';

/** Each burst: fewer frames than one queue holds, more than it has buffers for. */
const GUEST = {
  queues: 2,
  control: 'hash',
  sizes: [60, 9000],
  fromGuest: 0,
  toGuest: 20,
  buffersMax: 18,
  lateMs: 5,
  ringStart: 0xffff_fff0,
} as const;

const PLAIN_PROCESS = { lastsMs: 0, bursts: ['after'], reboot: undefined, harm: undefined } as const;

it('a stop at any step loses and repeats none of the frames that wait in queues which the guest chose', async () => {
  const { steps } = await runScenario(plainScenario(GUEST));
  let stops = 0;
  for (let atStep = 1; atStep <= steps; atStep += 3) {
    const process = { ...PLAIN_PROCESS, end: 'stop', atStep } as const;
    const { faults, lost, repeated, dropped } = await runScenario(
      plainScenario(GUEST, { processes: [process] }),
    );
    expect([atStep, faults, lost.toGuest, repeated.toGuest, dropped]).toEqual([atStep, [], 0, 0, 0]);
    stops++;
  }
  expect(stops).toBeGreaterThan(100);
}, 120_000);
