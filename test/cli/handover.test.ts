import { afterEach, describe, expect, it } from 'vitest';
import { adopt, type Handed, type HandoverParts, release } from '../../lib/cli/handover.js';
import type { VifName } from '../../lib/daemon/mark.js';
import { FRONT, HandoverWorld, Killed, NODE, SET_UP, VIF } from './handover-world.js';

const VERBS = { adopt, release };
type Verb = keyof typeof VERBS;
type Hand = (parts: HandoverParts, vif: VifName) => Promise<Handed>;

describe('a vif between the kernel and vifd', () => {
  let world: HandoverWorld;
  afterEach(() => world.close());

  const read = (path: string) => world.toolstack.store.read(path);
  const setUp = async (daemon = true, domid = 0): Promise<void> => {
    world = await HandoverWorld.open(domid);
    if (daemon) await world.startDaemon();
  };

  async function expectVifds(): Promise<void> {
    expect(world.attached).toBe(true);
    expect(world.bound.has(VIF.id)).toBe(false);
    expect(world.links.get(VIF.id)).toEqual(SET_UP);
    expect(await world.mark.read()).toEqual({ owner: 'vifd', keep: undefined, attached: process.pid });
    expect(await read(`${world.node}/state`)).toBe('4');
    const before = world.guest.txResponses().length;
    world.guest.send([{ size: 60 }]);
    await expect.poll(() => world.guest.txResponses().length).toBe(before + 1);
  }

  async function expectKernels(): Promise<void> {
    expect(world.attached).toBe(false);
    expect(world.bound.has(VIF.id)).toBe(true);
    expect(world.links.get(VIF.id)).toEqual(SET_UP);
    expect(await world.mark.read()).toMatchObject({ keep: undefined });
    expect(await read(`${world.node}/state`)).toBe('4');
    expect(await read(`${world.node}/hotplug-status`)).toBe('connected');
  }

  it('is adopted with its bridge, address, MTU and the flags of its port, and released again', async () => {
    await setUp();
    for (let i = 0; i < 3; i++) {
      expect(await adopt(world.parts(), VIF)).toMatchObject({ vif: 'vif7.0', ...SET_UP });
      await expectVifds();
      expect(await release(world.parts(), VIF)).toMatchObject({ vif: 'vif7.0', ...SET_UP });
      await expectKernels();
    }
  });

  describe('in a driver domain', () => {
    it('is adopted and released by the rights that this domain has', async () => {
      await setUp(true, 1);
      for (let i = 0; i < 2; i++) {
        expect(await adopt(world.parts(), VIF)).toMatchObject({ vif: 'vif7.0', ...SET_UP });
        await expectVifds();
        expect(await release(world.parts(), VIF)).toMatchObject({ vif: 'vif7.0', ...SET_UP });
        await expectKernels();
      }
    });

    it('is released without a vifd', async () => {
      await setUp(true, 1);
      await adopt(world.parts(), VIF);
      await world.killDaemon();
      await release(world.parts(), VIF);
      await expectKernels();
    });

    it('is not adopted once its guest has gone, of which the store may not be read any more', async () => {
      await setUp(true, 1);
      await world.toolstack.store.rm(FRONT);
      await expect(adopt(world.parts(), VIF)).rejects.toMatchObject({
        code: 'ERR_OWNER',
        message: expect.stringMatching(/its guest is not connected/),
      });
    });
  });

  it('keeps the name that the toolstack gave its interface, there and back', async () => {
    await setUp();
    world.links.delete(VIF.id);
    world.links.set('web0', SET_UP);
    world.called = 'web0';
    for (let i = 0; i < 2; i++) {
      expect(await adopt(world.parts(), VIF)).toMatchObject({ name: 'web0', ...SET_UP });
      expect([...world.links.keys()].sort()).toEqual(['web0', 'xenbr1']);
      expect(world.attached).toBe(true);
      expect(await release(world.parts(), VIF)).toMatchObject({ name: 'web0', ...SET_UP });
      expect([...world.links.keys()].sort()).toEqual(['web0', 'xenbr1']);
      expect(world.links.get('web0')).toEqual(SET_UP);
      expect(world.attached).toBe(false);
    }
  });

  it('stays with whom it was given to over restarts of vifd', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    await world.killDaemon();
    await world.startDaemon();
    await expectVifds();
    await release(world.parts(), VIF);
    await world.killDaemon();
    await world.startDaemon();
    await expectKernels();
  });

  it('keeps what an operator changes of its interface over restarts of vifd', async () => {
    await setUp(false);
    world.kernel.unbind(VIF);
    world.loaded = false;
    world.bridge = 'xenbr1';
    await world.startDaemon();
    expect(world.links.get(VIF.id)).toMatchObject({ bridge: 'xenbr1', mac: 'fe:ff:ff:ff:ff:ff', up: true });
    const changed = { bridge: 'xenbr2', mac: 'fe:ff:ff:00:00:01', mtu: 1280, up: false, port: {} };
    world.links.set(VIF.id, changed);
    await world.killDaemon();
    await world.startDaemon();
    expect(world.attached).toBe(true);
    expect(world.links.get(VIF.id)).toEqual(changed);
  });

  it('joins the bridge that a restart of vifd names, if it is in none', async () => {
    await setUp(false);
    world.kernel.unbind(VIF);
    world.loaded = false;
    await world.startDaemon();
    expect(world.links.get(VIF.id)?.bridge).toBeUndefined();
    await world.killDaemon();
    world.bridge = 'xenbr1';
    await world.startDaemon();
    expect(world.links.get(VIF.id)).toMatchObject({ bridge: 'xenbr1', up: true });
  });

  it('is not taken by vifd once it was released, though no driver is there', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    await release(world.parts(), VIF);
    world.kernel.unbind(VIF);
    world.loaded = false;
    await world.killDaemon();
    await world.startDaemon();
    expect(world.attached).toBe(false);
  });

  it('is vifd’s from its beginning where no driver was there, and stays so when one is loaded', async () => {
    await setUp(false);
    world.kernel.unbind(VIF);
    world.loaded = false;
    await world.startDaemon();
    expect(world.attached).toBe(true);
    world.loaded = true;
    await world.killDaemon();
    await world.startDaemon();
    expect(world.attached).toBe(true);
  });

  it('is released without a vifd: what a kill left undone is done, the tap goes', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    await world.killDaemon();
    world.loaded = false;
    await release(world.parts(), VIF);
    expect(world.loaded).toBe(true);
    await expectKernels();
  });

  it('is not attached to for its release while a worker serves it whose vifd has died', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    await world.killDaemon();
    let attaches = 0;
    const detachOnce = async () => {
      attaches++;
    };
    const released = release({ ...world.parts(), server: () => 4711, detachOnce }, VIF);
    await expect(released).rejects.toThrow('Another process has not detached from vif7.0 within 10 s');
    expect(attaches).toBe(0);
  });

  it('hides its notes from the guest', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    await expect(world.guest.xen.store.read(`${NODE}/vifd/owner`)).rejects.toMatchObject({ errno: 'EACCES' });
  });

  describe.each([
    ['adopt', 'adopt'],
    ['adopt', 'release'],
    ['release', 'release'],
    ['release', 'adopt'],
  ] as ReadonlyArray<[Verb, Verb]>)('%s killed at any step, then %s', (first, second) => {
    // The daemon is killed with the verb and started again before the next one, or survives.
    it.each([true, false])('completes (vifd survives: %s)', async (survives) => {
      for (let kill = 0; ; kill++) {
        await setUp();
        if (first === 'release') await adopt(world.parts(), VIF);
        const whole = await endsAfter(VERBS[first], kill);
        if (!survives) {
          await world.killDaemon();
          if (second === 'adopt') await world.startDaemon();
        }
        // The vif may already have that owner.
        await VERBS[second](world.parts(), VIF).catch((error) =>
          expect(error.code, `at ${kill}`).toBe('ERR_OWNER'),
        );
        if (second === 'adopt') await expectVifds();
        else await expectKernels();
        await world.close();
        if (whole) break;
      }
    });

    /** @returns whether the verb got to its end. */
    async function endsAfter(hand: Hand, steps: number): Promise<boolean> {
      try {
        await hand(world.parts(steps), VIF);
        return true;
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        return false;
      }
    }
  });

  describe('that cannot be adopted stays with the kernel, and the error has the reason:', () => {
    const refused = async (code: string, message: RegExp): Promise<void> => {
      await expect(adopt(world.parts(), VIF)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
    };

    it('no vifd runs', async () => {
      await setUp(false);
      await refused('ERR_NOT_RUNNING', /vif7\.0 would lose its network: first start `vifd run`/);
      await expectKernels();
    });

    it('there is no such vif', async () => {
      await setUp();
      const vif = { id: 'vif9.0', domid: 9, handle: 0 } as const;
      for (const hand of [adopt, release])
        await expect(hand(world.parts(), vif)).rejects.toMatchObject({ code: 'ERR_NO_VIF' });
    });

    it('it is where it is to go to', async () => {
      await setUp();
      await expect(release(world.parts(), VIF)).rejects.toMatchObject({ code: 'ERR_OWNER' });
      await adopt(world.parts(), VIF);
      await refused('ERR_OWNER', /vifd serves vif7\.0 already/);
    });

    it('its guest is not connected', async () => {
      await setUp();
      await world.toolstack.store.write(`${FRONT}/state`, '1');
      await refused('ERR_OWNER', /its guest is not connected \(state 1\)/);
    });

    it.each([
      [`${FRONT}/multi-queue-num-queues`, '2', /multi-queue-num-queues is '2', 1 is offered/],
      [`${FRONT}/ctrl-ring-ref`, '9', /event-channel-ctrl is '', not a port/],
      [`${NODE}/feature-of-tomorrow`, '1', /previous backend offered feature-of-tomorrow, which/],
    ])('it uses what vifd does not serve: %s', async (path, value, why) => {
      await setUp();
      await world.toolstack.store.write(path, value);
      await refused('ERR_OWNER', why);
      await expectKernels();
    });

    it('its bridge is gone', async () => {
      await setUp();
      world.links.delete('xenbr1');
      await refused('ERR_LINK', /bridge xenbr1.*is gone: create it/);
      await expectKernels();
    });

    it('the driver refuses to unbind', async () => {
      await setUp();
      world.refuses = 'unbind';
      await refused('ERR_KERNEL_DRIVER', /refused to unbind/);
      await expectKernels();
    });

    it('vifd does not attach', async () => {
      await setUp();
      // A reference that is not granted; the kernel's driver mapped its rings before.
      const ref = await read(`${FRONT}/tx-ring-ref`);
      await world.toolstack.store.write(`${FRONT}/tx-ring-ref`, '4000000');
      await refused('ERR_TIMEOUT', /did not attach to vif7\.0 within 10 s.*xen-netback serves it again/);
      await expectKernels();
      await world.toolstack.store.write(`${FRONT}/tx-ring-ref`, `${ref}`);
    });
  });

  it('whose guest’s multicast list the driver would not know is not released', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    await world.toolstack.store.write(`${FRONT}/request-multicast-control`, '1');
    await expect(release(world.parts(), VIF)).rejects.toMatchObject({ code: 'ERR_OWNER' });
    expect(world.attached).toBe(true);
  });

  it('that the driver refuses to take stays with vifd', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    world.refuses = 'bind';
    await expect(release(world.parts(), VIF)).rejects.toMatchObject({ code: 'ERR_KERNEL_DRIVER' });
    await expect.poll(() => world.attached).toBe(true);
    world.refuses = undefined;
    await release(world.parts(), VIF);
    await expectKernels();
  });

  it('that the driver does not connect in time is reported, and the next release continues', async () => {
    await setUp();
    await adopt(world.parts(), VIF);
    world.refuses = 'connecting';
    await expect(release(world.parts(), VIF)).rejects.toMatchObject({
      code: 'ERR_KERNEL_DRIVER',
      message: expect.stringMatching(/did not connect within 10 s/),
    });
    await world.toolstack.store.write(`${NODE}/state`, '4');
    await release(world.parts(), VIF);
    await expectKernels();
  });
});
