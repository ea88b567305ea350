import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FrameHook } from '../../lib/netback/frames/frame.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

/** Returns a hook of which TypeScript would not approve: programs in JavaScript have them. */
function wrong(name: string, body: () => unknown): FrameHook {
  return Object.defineProperty(body, 'name', { value: name }) as FrameHook;
}

function detached(): Uint8Array {
  const array = new Uint8Array(60);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

class Liar extends Uint8Array {
  override get length() {
    return 60_000;
  }
}

describe('a hook', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  let vif: Vif;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
    await world.start('copy', [guest]);
    vif = world.netback.vifs.get('vif7.0')!;
  });
  afterEach(() => world.close());

  const send = async (frames: number) => {
    for (let i = 0; i < frames; i++) {
      guest.send([{ size: 60 }]);
      await world.settle();
    }
  };
  const errors = () => world.errors.map(({ code, message }) => `${code} ${message}`);

  const resizable = Reflect.construct(ArrayBuffer, [60, { maxByteLength: 120 }]) as ArrayBuffer;
  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    return proxy;
  };
  const kinds: [string, () => unknown, string][] = [
    ['undefined', () => undefined, 'returned undefined'],
    ['null', () => null, 'returned null'],
    ['a number', () => 1, 'returned 1'],
    ['a typo', () => 'Pass', "returned 'Pass'"],
    ['text that forges lines', () => '\n<0>forged', "returned '\\n<0>forged'"],
    ['an object', () => ({}), 'returned an object'],
    ['an array of numbers', () => [1, 2], 'returned an array that is no Uint8Array'],
    ['a proxy that was revoked', revoked, 'returned an object'],
    ['an empty array', () => new Uint8Array(0), 'empty or detached'],
    ['an array that is shorter than an Ethernet header', () => new Uint8Array(13), 'an array of 13 bytes'],
    ['an array that is too long', () => new Uint8Array(70_000), 'an array of 70000 bytes'],
    ['a Uint16Array', () => new Uint16Array(40), 'returned a Uint16Array'],
    ['a DataView', () => new DataView(new ArrayBuffer(60)), 'returned an object'],
    ['a proxy of an array', () => new Proxy(new Uint8Array(60), {}), 'returned an object'],
    ['a detached array', detached, 'empty or detached'],
    ['an array over shared memory', () => new Uint8Array(new SharedArrayBuffer(60)), 'other threads'],
    ['an array over a resizable buffer', () => new Uint8Array(resizable), 'can shrink'],
    ['a promise', () => Promise.resolve('pass'), 'returned a promise'],
    [
      'a promise of its own kind',
      () => Object.defineProperty({}, 'then', { value: () => {} }),
      'returned a promise',
    ],
  ];

  it.each(kinds)(
    'that returns %s loses the frame, which is counted and reported once',
    async (_, body, says) => {
      using _hook = vif.hook(wrong('firewall', body));
      await send(3);
      expect(errors()).toEqual([expect.stringMatching(/^ERR_HOOK vif7\.0: Hook firewall returned /)]);
      expect(errors()[0]).toContain(says);
      expect(errors()[0]).toContain("'pass', 'drop', a redirect or a Uint8Array");
      expect(world.port('vif7.0').written).toEqual([]);
      expect(vif.stats.fromGuest).toMatchObject({ frames: 0, filtered: 0, dropped: 0, hookErrors: 3 });
      expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 0, 0]);
      expect(vif.state).toBe('connected');
    },
  );

  it('is reported once for each kind of fault, and each hook for itself', async () => {
    const faults: unknown[] = [undefined, 'Pass', undefined, 'Pass'];
    const first = vif.hook(wrong('first', () => faults.shift()));
    await send(4);
    first[Symbol.dispose]();
    using _second = vif.hook(wrong('', () => undefined));
    await send(1);
    expect(errors()).toEqual([
      expect.stringContaining('Hook first returned undefined'),
      expect.stringContaining("Hook first returned 'Pass'"),
      expect.stringContaining('A hook without a name returned undefined'),
    ]);
    expect(vif.stats.fromGuest.hookErrors).toBe(5);
  });

  it('may return an array whose length its class invents: the true one counts', async () => {
    using _hook = vif.hook(() => new Liar(20).fill(5));
    await send(1);
    expect(world.port('vif7.0').written).toEqual([new Uint8Array(20).fill(5)]);
    expect(errors()).toEqual([]);
  });

  it('that throws is reported once, and again only when it has worked since', async () => {
    let broken = true;
    using _hook = vif.hook(() => {
      if (broken) throw new Error('no\nrules');
      return 'pass';
    });
    await send(3);
    expect(errors()).toEqual([expect.stringContaining('threw: no\\nrules')]);
    broken = false;
    await send(1);
    broken = true;
    await hypervisor.advance(2000);
    await send(2);
    expect(errors()).toHaveLength(2);
    expect(vif.stats.fromGuest).toMatchObject({ frames: 1, hookErrors: 5 });
  });

  it('that throws for each second frame, as a guest may arrange it, is not reported for each', async () => {
    let frames = 0;
    using _hook = vif.hook(() => {
      frames++;
      if (frames % 2 === 0) throw new Error('odd');
      return 'pass';
    });
    await send(20);
    expect(errors()).toHaveLength(1);
    expect(vif.stats.fromGuest).toMatchObject({ frames: 10, hookErrors: 10 });
  });

  it('that throws what cannot be made text is reported too', async () => {
    using _hook = vif.hook(() => {
      throw Object.create(null);
    });
    await send(1);
    expect(errors()).toEqual([expect.stringContaining('threw: a value that cannot be shown')]);
  });

  it('whose promise is rejected ends nothing: that is reported, once', async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', listen);
    using _hook = vif.hook(wrong('lookup', () => Promise.reject(new Error('no database'))));
    await send(3);
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', listen);
    expect(unhandled).toEqual([]);
    expect(errors()).toEqual([
      expect.stringContaining('Hook lookup returned a promise'),
      expect.stringContaining('Hook lookup returned a promise, which was rejected: no database'),
    ]);
  });

  it('of the whole netback is named as the program named it', async () => {
    await world.stop();
    const other = await World.open();
    const peer = await other.guest(7);
    await other.start('copy', [peer], { hook: wrong('everyVif', () => undefined) });
    peer.send([{ size: 60 }]);
    await other.settle();
    expect(other.errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^vif7\.0: Hook everyVif returned undefined/),
    ]);
    await other.close();
  });

  it('that drops frames to the guest by an error counts them there', async () => {
    using _hook = vif.hook(wrong('firewall', () => undefined));
    guest.post([guest.ref(3)]);
    world.port('vif7.0').put(new Uint8Array(80));
    await world.settle();
    expect(vif.stats.toGuest).toMatchObject({ frames: 0, hookErrors: 1 });
    expect(vif.stats.fromGuest.hookErrors).toBe(0);
  });

  it('that takes long is reported once, until it is quick again', async () => {
    const { clock } = world.backend;
    const real = clock.now.bind(clock);
    let passedMs = 0;
    let takesMs = 500;
    Object.assign(clock, { now: () => real() + passedMs });
    vif.hook(() => {
      passedMs += takesMs;
      return 'pass';
    });
    await send(3);
    expect(errors()).toEqual([expect.stringMatching(/^ERR_HOOK vif7\.0: Hooks took 500 ms for 1 frame, /)]);
    takesMs = 1;
    await send(1);
    takesMs = 100;
    await send(2);
    expect(errors()).toHaveLength(2);
    expect(vif.stats.fromGuest.frames).toBe(6);
  });
});
