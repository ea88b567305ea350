import { describe, expect, it } from 'vitest';
import {
  nextStep,
  type OtherQueues,
  ROUND_STEPS_MAX,
  type Situation,
  type Step,
} from '../../lib/netback/queue/to-guest-steps.js';
import { RING_BROKEN } from '../../lib/netback/ring/back-ring.js';

/** A queue just after its look at the ring: no frame is pending, and the guest has no buffers. */
const EMPTY: Situation = {
  slots: 0,
  slotsWanted: 1,
  slotsNeeded: 3,
  pendingFrames: 0,
  unsortedFrames: 0,
  isOffered: false,
  stalled: false,
  lapsed: false,
  isDry: false,
  isArmed: false,
  leftMs: undefined,
};
const PENDING = { pendingFrames: 2 };
const SORTED: OtherQueues = { needFrames: false, waitForRoom: false };
const IN_NEED: OtherQueues = { needFrames: true, waitForRoom: false };
const WAITING: OtherQueues = { needFrames: false, waitForRoom: true };
const ALONE = undefined;

describe('the next step of the to-guest direction', () => {
  it.each<[what: string, queue: Partial<Situation>, others: OtherQueues | undefined, step: Step]>([
    ['a broken ring', { slots: RING_BROKEN }, ALONE, 'stop'],
    [
      'a broken ring, frames pending and unsorted',
      { slots: RING_BROKEN, ...PENDING, unsortedFrames: 2 },
      SORTED,
      'stop',
    ],

    ['unsorted frames, no buffers', { ...PENDING, unsortedFrames: 2 }, SORTED, 'sort'],
    ['unsorted frames, buffers', { ...PENDING, unsortedFrames: 2, slots: 9 }, IN_NEED, 'sort'],
    [
      'a count of unsorted frames that no choice explains',
      { ...PENDING, unsortedFrames: 2, slots: 9 },
      ALONE,
      'deliver',
    ],

    ['as many slots as the next frame takes', { ...PENDING, slots: 3 }, ALONE, 'deliver'],
    ['slots for a frame that takes none', { ...PENDING, slots: 1, slotsNeeded: 0 }, ALONE, 'deliver'],
    ['a slot too few', { ...PENDING, slots: 2 }, ALONE, 'arm'],
    ['no slot for a frame that takes none', { ...PENDING, slotsNeeded: 0 }, ALONE, 'arm'],

    ['buffers', { slots: 1 }, ALONE, 'read'],
    ['buffers, others want nothing', { slots: 1 }, SORTED, 'read'],
    ['buffers, and another queue waits for room here', { slots: 1 }, WAITING, 'yield'],
    ['no buffers', {}, SORTED, 'arm'],
    ['no buffers, but another queue has some', {}, IN_NEED, 'read'],
    [
      'no buffers, another queue has some, and one waits for room here',
      {},
      { needFrames: true, waitForRoom: true },
      'yield',
    ],

    [
      'the port is empty, as many buffers as were too few',
      { isDry: true, slots: 3, slotsWanted: 3 },
      ALONE,
      'recover',
    ],
    ['the port is empty, a buffer too few', { isDry: true, slots: 2, slotsWanted: 3 }, ALONE, 'rest'],
    [
      'the port is empty, a buffer too few for a stalled guest',
      { isDry: true, slots: 2, slotsWanted: 3, stalled: true },
      ALONE,
      'arm',
    ],
    [
      'the same, armed',
      { isDry: true, slots: 2, slotsWanted: 3, stalled: true, isArmed: true },
      ALONE,
      'rest',
    ],
    ['the port has nothing for the others', { isDry: true }, IN_NEED, 'arm'],

    ['nothing waits, armed', { isArmed: true }, ALONE, 'listen'],
    [
      'the port is empty, armed, and the others have buffers',
      { isDry: true, isArmed: true },
      IN_NEED,
      'listen',
    ],
    ['frames wait in the port, armed', { isOffered: true, isArmed: true }, ALONE, 'time'],
    ['frames are pending, armed', { ...PENDING, isArmed: true }, ALONE, 'time'],

    ['time is left', { ...PENDING, isArmed: true, leftMs: 1 }, ALONE, 'wait'],
    ['time is up', { ...PENDING, isArmed: true, leftMs: 0 }, ALONE, 'drop'],
    ['time is up for frames in the port', { isOffered: true, isArmed: true, leftMs: 0 }, ALONE, 'drop'],
    ['time is left, and others have buffers', { ...PENDING, isArmed: true, leftMs: 1 }, IN_NEED, 'wait'],
    [
      'time was up once, and others have buffers',
      { ...PENDING, isArmed: true, leftMs: 1, lapsed: true },
      IN_NEED,
      'make way',
    ],
    [
      'time is up, and others have buffers',
      { ...PENDING, isArmed: true, leftMs: 0, lapsed: true },
      IN_NEED,
      'make way',
    ],
    [
      'time was up once, and others have none',
      { ...PENDING, isArmed: true, leftMs: 1, lapsed: true },
      SORTED,
      'wait',
    ],
    [
      'frames came to the port since it was read for the others',
      { isDry: true, isOffered: true, isArmed: true, leftMs: 1 },
      IN_NEED,
      'make way',
    ],
  ])('%s', (_what, queue, others, step) => {
    expect(nextStep({ ...EMPTY, ...queue }, others)).toBe(step);
  });

  const all = situations();

  /** What a step changes, if the round continues after it. */
  function after(step: Step, queue: Situation): Situation[] {
    if (step === 'read') {
      const read = { ...queue, pendingFrames: 2, isOffered: false };
      return [
        read,
        { ...read, unsortedFrames: 2 },
        { ...queue, isDry: true, isOffered: false },
        { ...queue, isDry: true },
      ];
    }
    if (step === 'sort') return [{ ...queue, unsortedFrames: 0 }];
    if (step === 'arm') return [{ ...queue, isArmed: true }];
    if (step === 'time') return [0, 5].map((leftMs) => ({ ...queue, leftMs }));
    return [];
  }

  it('ends each round within as many steps as there are kinds that do not end it, and one', () => {
    const longest = (queue: Situation, others: OtherQueues | undefined, taken: readonly Step[]): number => {
      const step = nextStep(queue, others);
      expect(taken, `${step} after ${taken}, ${JSON.stringify([queue, others])}`).not.toContain(step);
      const next = after(step, queue).map((one) => longest(one, others, [...taken, step]));
      return Math.max(1, ...next.map((steps) => steps + 1));
    };
    const rounds = all.filter(([{ isDry, isArmed, leftMs }]) => !isDry && !isArmed && leftMs === undefined);
    expect(Math.max(...rounds.map(([queue, others]) => longest(queue, others, [])))).toBe(ROUND_STEPS_MAX);
  });

  it('reads over no pending frame, delivers no unsorted one, and never into slots that are not there', () => {
    for (const [queue, others] of all) {
      const step = nextStep(queue, others);
      if (step === 'read') expect(queue.pendingFrames).toBe(0);
      if (step !== 'deliver') continue;
      expect(queue.pendingFrames).toBeGreaterThan(0);
      expect(queue.slots).toBeGreaterThanOrEqual(Math.max(1, queue.slotsNeeded));
      expect(others === undefined || queue.unsortedFrames === 0).toBe(true);
    }
  });

  it('drops frames only when the time is up, or is up once and another queue needs the port', () => {
    for (const [queue, others] of all) {
      const step = nextStep(queue, others);
      if (step === 'drop') expect(queue.leftMs).toBe(0);
      if (step === 'make way')
        expect([others?.needFrames, queue.pendingFrames === 0 || queue.lapsed]).toEqual([true, true]);
    }
  });

  it('waits for an event only when one will come', () => {
    for (const [queue, others] of all) {
      const step = nextStep(queue, others);
      if (step === 'listen' || step === 'wait' || step === 'drop') expect(queue.isArmed).toBe(true);
      // The port reports frames from its last read on.
      if (step === 'rest' || step === 'recover') expect(queue.isDry).toBe(true);
    }
  });
});

/** @returns every situation of a few buffers, frames and times, with and without other queues. */
function situations(): [Situation, OtherQueues | undefined][] {
  const bits = [false, true];
  const others = [
    ALONE,
    ...bits.flatMap((needFrames) => bits.map((waitForRoom) => ({ needFrames, waitForRoom }))),
  ];
  const axes: readonly (readonly Partial<Situation>[])[] = [
    [RING_BROKEN, 0, 1, 3].map((slots) => ({ slots })),
    [0, 1, 3].map((slotsNeeded) => ({ slotsNeeded })),
    [1, 3].map((slotsWanted) => ({ slotsWanted })),
    [{ pendingFrames: 0 }, { pendingFrames: 2 }, { pendingFrames: 2, unsortedFrames: 2 }],
    bits.map((isOffered) => ({ isOffered })),
    [{}, { stalled: true, lapsed: true }, { lapsed: true }],
    bits.map((isDry) => ({ isDry })),
    [{}, { isArmed: true }, { isArmed: true, leftMs: 0 }, { isArmed: true, leftMs: 5 }],
  ];
  const queues = axes.reduce<Situation[]>(
    (made, axis) => made.flatMap((queue) => axis.map((part) => ({ ...queue, ...part }))),
    [EMPTY],
  );
  return queues.flatMap((queue) => others.map((one): [Situation, OtherQueues | undefined] => [queue, one]));
}
