import { expect, it, vi } from 'vitest';
import { TAKE_OVERS, tryWrongTakeOver } from '../../sim/take-over/take-overs.js';

const mutation = vi.hoisted(() => ({ looks: true }));

/** A worker that does not look at its rings as it attaches, for this file only. */
vi.mock('../../lib/netback/ring/turns.js', async (load) => {
  const real = await load<typeof import('../../lib/netback/ring/turns.js')>();
  class MutantTurns extends real.Turns {
    override start(): void {
      if (mutation.looks) super.start();
    }
  }
  return { ...real, Turns: MutantTurns };
});

const find = async (looks: boolean) => {
  mutation.looks = looks;
  return (await tryWrongTakeOver('ignores the event of the take-over', TAKE_OVERS[0]!)).found?.fault;
};

it('a worker that acts neither as it attaches nor on the event of the take-over leaves its guest stuck', async () => {
  expect(await find(true)).toBeUndefined();
  expect(await find(false)).toMatch(/frames still wait|lost/);
}, 120_000);
