/** The attach of a process that takes over from one that is dead: by what the connection's journal records. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Admission } from '../../lib/netback/vif/directory.js';
import { ServedVifs, type ServeOptions } from '../../lib/netback/vif/served-vifs.js';
import { ModelHypervisor, ModelKilled, type ModelXen, type OnStep } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const FRONT = '/local/domain/7/device/vif/0';
const NODE = '/local/domain/0/backend/vif/7/0';
const PLACE = { id: 'vif7.0', domid: 7, handle: 0, path: NODE } as const;
/** A key that an attach by the journal does not need. */
const LATER = 'feature-sg';
type OpenPort = ServeOptions['port'];
const LATER_KEY = `${FRONT}/${LATER}`;

describe('a process that takes a connection over', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  let events: string[];
  let next: { readonly served: ServedVifs; readonly xen: ModelXen } | undefined;
  const anew = async () => {
    if (next !== undefined) await end();
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
    await world.start('copy', [guest]);
    events = [];
    next = undefined;
  };
  const end = async () => {
    if (next?.xen.alive === true) {
      await world.settled(next.served.detach());
      await world.settled(next.xen[Symbol.asyncDispose]());
    }
    await world.close();
  };
  beforeEach(anew);
  afterEach(end);
  /** Begins the next process, which notes when it attaches and when it reads a key that it needs only later. */
  const begin = (onStep?: OnStep, port: OpenPort = ({ id }) => world.port(id)) => {
    const xen = hypervisor.open(0, onStep && { onStep });
    const { store } = xen;
    const { read } = store;
    const note = (path: string) => path.endsWith(`/${LATER}`) && events.push('reads the rest');
    vi.spyOn(store, 'read').mockImplementation((path) => {
      note(path);
      return read.call(store, path);
    });
    vi.spyOn(store, 'readAll').mockImplementation((paths) => {
      for (const path of paths) note(path);
      return Promise.all(paths.map((path) => read.call(store, path)));
    });
    const served = new ServedVifs({
      options: { xen, port, journals: world.journals },
      onAttached: (_vif, { resumed }) => events.push(resumed ? 'resumes' : 'attaches'),
      onDetached: (_vif, why) => events.push(`detaches: ${why}`),
      onRecovered: () => {},
      onError: ({ code }) => events.push(code),
      onMended: () => {},
      onGone: () => events.push('gone'),
    });
    next = { served, xen };
    return next;
  };
  /** Has the next process serve the vif, and time pass until it has read all keys. */
  const takeOver = async (served = begin().served): Promise<Admission | undefined> => {
    const found = served.found(PLACE, false, () => false, true);
    let admission: Admission | undefined;
    found.then(
      (result) => {
        admission = result;
      },
      // A process that is killed.
      () => {},
    );
    for (let i = 0; i < 20 && admission === undefined; i++) {
      await world.settle();
      hypervisor.advance(1);
    }
    await world.settle();
    return admission;
  };
  /** Has a process take over that is killed once `isStep` returns true. @returns whether it did. */
  const dies = async (isStep: () => boolean): Promise<boolean> => {
    let isDead = false;
    const { served, xen } = begin(() => {
      if (isDead || !isStep()) return;
      isDead = true;
      throw new ModelKilled();
    });
    await takeOver(served);
    if (!isDead) hypervisor.kill(xen);
    return isDead;
  };
  const moves = async (): Promise<boolean> => {
    const port = world.port('vif7.0');
    const [written, received] = [port.written.length, guest.rxResponses().length];
    guest.send([{ size: 60 }]);
    guest.post([guest.ref(3)]);
    port.put(new Uint8Array(60).fill(7));
    await world.settle();
    return port.written.length === written + 1 && guest.rxResponses().length === received + 1;
  };

  it('attaches by what the journal records, and reads the rest later', async () => {
    expect(await moves()).toBe(true);
    world.kill();
    guest.send([{ size: 61 }]);
    expect(await takeOver()).toBe('served');
    expect(events).toEqual(['resumes', 'reads the rest']);
    expect(world.port('vif7.0').written.map(({ length }) => length)).toEqual([60, 61]);
    expect(await moves()).toBe(true);
  });

  it('attaches to all vifs at once, and only then reads the rest of each', async () => {
    const guests = [guest];
    for (const domid of [8, 9]) guests.push(await world.guest(domid));
    for (const one of guests.slice(1)) {
      await world.settled(one.connect(world.toolstack));
      await world.settle();
      one.send([{ size: 60 }]);
    }
    expect(await moves()).toBe(true);
    world.kill();
    for (const one of guests) one.send([{ size: 61 }]);
    const { served } = begin();
    const found = Promise.all(
      guests.map(({ domid }) => {
        const place = { ...PLACE, id: `vif${domid}.0`, domid, path: world.node(domid) } as const;
        return served.found(place, false, () => false, true);
      }),
    );
    await world.settle();
    expect(events).toEqual(guests.map(() => 'resumes'));
    for (const { domid } of guests) expect(world.port(`vif${domid}.0`).written.at(-1)).toHaveLength(61);
    await hypervisor.advance(10);
    expect(await found).toEqual(guests.map(() => 'served'));
    expect(events.slice(guests.length)).toEqual(guests.map(() => 'reads the rest'));
  });

  it('applies the rate from its first frame on', async () => {
    expect(await moves()).toBe(true);
    world.kill();
    await world.write(`${NODE}/rate`, '60,1000000');
    for (let i = 0; i < 3; i++) guest.send([{ size: 60 }]);
    await takeOver();
    expect(world.port('vif7.0').written).toHaveLength(2);
  });

  it.each<[string, () => Promise<void>]>([
    ['a ring reference', () => world.write(`${FRONT}/tx-ring-ref`, '999999')],
    ['an event channel', () => world.write(`${FRONT}/event-channel`, '99')],
    ['the number of queues', () => world.write(`${FRONT}/multi-queue-num-queues`, '2')],
    ['a control ring', () => world.write(`${FRONT}/ctrl-ring-ref`, 'nonsense')],
  ])('maps nothing by the journal if %s differs in the store', async (_what, change) => {
    expect(await moves()).toBe(true);
    world.kill();
    await change();
    await takeOver();
    expect(events[0]).toBe('reads the rest');
    expect(next?.served.vifs.get('vif7.0')?.state).toBe('stopped');
  });

  it('attaches to the guest’s new connection, and not to the recorded one', async () => {
    expect(await moves()).toBe(true);
    world.kill();
    const keys = guest.offer(2);
    for (const [key, value] of Object.entries(keys)) await world.write(`${FRONT}/${key}`, value);
    await takeOver();
    expect(events.slice(0, 2)).toEqual(['reads the rest', 'ERR_JOURNAL']);
    expect(await moves()).toBe(true);
  });

  it.each([
    ['closes', '5', '5'],
    ['has closed', '6', '6'],
  ])('does not attach to a guest that %s meanwhile', async (_what, state, own) => {
    expect(await moves()).toBe(true);
    world.kill();
    await world.write(`${FRONT}/state`, state);
    await takeOver();
    expect(events).not.toContain('resumes');
    expect(await world.state(7)).toBe(own);
  });

  it('does not attach if the toolstack removes the vif meanwhile', async () => {
    world.kill();
    await world.write(`${NODE}/online`, '0');
    await world.write(`${NODE}/state`, '5');
    await takeOver();
    expect(events).toEqual([]);
    expect(await world.state(7)).toBe('6');
  });

  it('attaches anew, with the guest’s keys, if it negotiated something else with the same rings', async () => {
    expect(await moves()).toBe(true);
    world.kill();
    await world.write(LATER_KEY, '0');
    await takeOver();
    expect(events).toEqual(['resumes', 'reads the rest', 'detaches: guest-closed', 'resumes']);
    const shown = next?.served.vifs.get('vif7.0')?.show();
    expect(shown?.connection?.negotiated.scatterGather).toBe(false);
    expect(await moves()).toBe(true);
  });

  it('passes each frame on if the next process dies too, at whichever step of the take-over', async () => {
    let at = 0;
    for (let isOver = false; !isOver; at++) {
      if (at > 0) await anew();
      expect(await moves()).toBe(true);
      world.kill();
      guest.send([{ size: 61 }]);
      let steps = 0;
      isOver = !(await dies(() => steps++ === at));
      guest.send([{ size: 62 }]);
      await takeOver();
      const sizes = world.port('vif7.0').written.map(({ length }) => length);
      expect([...new Set(sizes)], `killed at step ${at}`).toEqual([60, 61, 62]);
      expect(await moves()).toBe(true);
    }
    expect(at).toBeGreaterThan(20);
  });

  it('watches the port later, and tries again if that fails', async () => {
    expect(await moves()).toBe(true);
    world.kill();
    let follows = 0;
    const port = Object.assign(world.port('vif7.0'), {
      follow: () => {
        if (follows++ === 0) throw new Error('no follow');
        return { [Symbol.dispose]: () => {} };
      },
    });
    expect(await takeOver(begin(undefined, () => port).served)).toBe('served');
    await hypervisor.advance(10_000);
    expect(events).toEqual(['resumes', 'ERR_STATE', 'reads the rest']);
    expect(follows).toBe(2);
  });

  describe('whose port opens slowly', () => {
    let opened: (port: TestPort) => void;
    const port: OpenPort = ({ id }) =>
      id === PLACE.id
        ? new Promise<TestPort>((resolve) => {
            opened = resolve;
          })
        : world.port(id);

    it.each(['detach', 'abandon'] as const)('leaves no port open that is there after %s', async (how) => {
      world.kill();
      const { served } = begin(undefined, port);
      const found = takeOver(served);
      await world.settle();
      const ended = how === 'detach' ? served.detach() : served.vifs.get(PLACE.id)?.abandon();
      await world.settle();
      const late = new TestPort();
      const close = vi.spyOn(late, Symbol.asyncDispose);
      opened(late);
      await found;
      await world.settled(ended ?? Promise.resolve());
      expect(close).toHaveBeenCalled();
      expect(late.removed).toBe(how === 'abandon');
    });

    it('looks at the other vifs all the same', async () => {
      const other = await world.guest(8);
      await world.settled(other.connect(world.toolstack));
      await world.settle();
      world.kill();
      const { served } = begin(undefined, port);
      const slow = served.found(PLACE, false, () => false, true);
      const place = { ...PLACE, id: 'vif8.0', domid: 8, path: world.node(8) } as const;
      const found = served.found(place, false, () => false, true);
      for (let waitedMs = 0; waitedMs < 1000; waitedMs += 100) {
        await world.settle();
        await hypervisor.advance(100);
      }
      opened(new TestPort());
      expect(events).toEqual(['attaches', 'reads the rest']);
      expect(await found).toBe('served');
      await hypervisor.advance(10);
      await slow;
    });
  });
});
