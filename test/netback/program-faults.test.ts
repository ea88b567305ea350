import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NetbackOptions } from '../../lib/netback/netback.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

/** Longer than any pause before the next attempt. */
const LATER_MS = 60_000;

describe('a function of the program that throws', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  const failing = (times: number): (() => void) => {
    let calls = 0;
    return () => {
      if (calls++ < times) throw new TypeError('no such bridge');
    };
  };
  const wrongs: [name: string, times: number, options: (fail: () => void) => Partial<NetbackOptions>][] = [
    [
      'accept',
      3,
      (fail) => ({
        accept: () => {
          fail();
          return true;
        },
      }),
    ],
    [
      'an asynchronous accept',
      3,
      (fail) => ({
        accept: async () => {
          fail();
          return true;
        },
      }),
    ],
    [
      'port',
      3,
      (fail) => ({
        port: () => {
          fail();
          return new TestPort();
        },
      }),
    ],
    [
      'an asynchronous port',
      3,
      (fail) => ({
        port: async () => {
          fail();
          return new TestPort();
        },
      }),
    ],
  ];

  it.each(wrongs)('%s: is reported once, tried again, and mended', async (_name, times, options) => {
    await world.start('copy', [guest], options(failing(times)));
    expect(world.errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^vif7\.0.*no such bridge/),
    ]);
    expect(world.errors[0].code).toBe('ERR_STATE');
    for (let i = 0; i < times + 1; i++) await hypervisor.advance(LATER_MS);
    expect(world.errors).toHaveLength(1);
    expect(world.mended).toHaveLength(1);
    expect(world.netback.vifs.get('vif7.0')?.state).toBe('connected');
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(guest.txResponses()).toHaveLength(1);
  });

  it('does not leave a port unwatched', async () => {
    let follows = 0;
    const port = Object.assign(new TestPort(), {
      follow: () => {
        if (follows++ < 2) throw new Error('no follow');
        return { [Symbol.dispose]: () => {} };
      },
    });
    await world.start('copy', [guest], { port: () => port });
    for (let i = 0; i < 4; i++) await hypervisor.advance(LATER_MS);
    expect([follows, world.errors.length, world.mended.length]).toEqual([3, 1, 1]);
  });

  it('is reported for a port that is none, and another guest is served all the same', async () => {
    const other = await world.guest(8);
    const port = ({ domid }: { domid: number }) => (domid === 7 ? undefined : new TestPort()) as TestPort;
    await world.start('copy', [guest, other], { port });
    expect(world.netback.vifs.get('vif8.0')?.state).toBe('connected');
    expect(world.errors.map(({ vif }) => vif)).toEqual(['vif7.0']);
    for (let i = 0; i < 4; i++) await hypervisor.advance(LATER_MS);
    expect(world.errors.map(({ message }) => message)).toEqual([
      'vif7.0: The option `port` returned a value of type undefined, which is no port. Return tap(), framePort() or another Port.',
    ]);
  });
});
