import { describe, expect, test } from 'vitest';
import type { ModelGrantBatch } from '../../lib/testing/model/batch.js';
import {
  type InstanceOptions,
  ModelHypervisor,
  ModelKilled,
  type ModelXen,
} from '../../lib/testing/model/index.js';
import {
  OP_HEAD,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
} from '../../lib/xen/seam.js';

const GNTST_EAGAIN = -12;

interface World {
  readonly hypervisor: ModelHypervisor;
  readonly back: ModelXen;
  readonly front: ModelXen;
}

function world(
  options: ConstructorParameters<typeof ModelHypervisor>[0] = {},
  life: InstanceOptions = {},
): World {
  const hypervisor = new ModelHypervisor(options);
  return { hypervisor, back: hypervisor.open(0, life), front: hypervisor.open(7) };
}

/** A batch of the backend with `count` operations on one granted page, its first byte 42. */
function batchOn({ back, front }: World, count = 1) {
  const shared = front.shares.allocate(1);
  shared.bytes[0] = 42;
  const ref = shared.grant(0, back.domid, 'write');
  const arena = back.grants.arena(PAGE_SIZE);
  const batch = back.grants.batch({ domid: front.domid, capacity: count, arena }) as ModelGrantBatch;
  batch.ops[OPS_COUNT] = count;
  for (let op = 0; op < count; op++) {
    const at = OPS_HEADER_WORDS + op * OP_WORDS;
    batch.ops[at + OP_REF] = ref;
    batch.ops[at + OP_SPAN] = 64 << 16;
    batch.ops[at + OP_HEAD] = 8;
  }
  return { shared, ref, arena, batch };
}

function statuses(ops: Uint32Array): number[] {
  return Array.from(
    { length: ops[OPS_COUNT]! },
    (_, op) => ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS]! | 0,
  );
}

describe('killing a process', () => {
  test('ends its mappings: its views are empty, the pages go back, the bytes stay', () => {
    const { hypervisor, back, front } = world();
    const shared = front.shares.allocate(1);
    const ref = shared.grant(0, back.domid, 'write');
    const mapping = back.grants.map(front.domid, [ref], 'write');
    const held = mapping.page(0);
    held[3] = 33;
    hypervisor.kill(back);
    held[3] = 99;
    expect(held.length).toBe(0);
    expect(mapping.mapped).toBe(false);
    expect(shared.bytes[3]).toBe(33);
    expect(shared.end(ref)).toBe(true);
  });

  test('ends what its batches have mapped', () => {
    const xens = world();
    const { shared, ref, batch } = batchOn(xens);
    batch.mapFromGuest();
    const bytes = batch.mappedBytes(0);
    expect(bytes.length).toBe(64);
    xens.hypervisor.kill(xens.back);
    expect(bytes.length).toBe(0);
    expect(batch.mappedBytes(0).length).toBe(0);
    expect(shared.end(ref)).toBe(true);
  });

  test('gives its ports back: the next process binds to the same one', async () => {
    const { hypervisor, back, front } = world();
    let events = 0;
    const theirs = front.events.bindUnbound(back.domid, () => {});
    back.events.bind(front.domid, theirs.port, () => events++);
    hypervisor.kill(back);
    const next = hypervisor.open(back.domid);
    next.events.bind(front.domid, theirs.port, () => {});
    await hypervisor.settle();
    expect(events).toBe(0);
  });

  test('cancels its timers', async () => {
    const { hypervisor, back } = world();
    let fired = 0;
    back.clock.after(5, () => fired++);
    back.clock.after(0, () => fired++);
    hypervisor.kill(back);
    await hypervisor.advance(10);
    expect(fired).toBe(0);
  });

  test("leaves the other side's mapping of its pages alone, and frees them with it", () => {
    const { hypervisor, back, front } = world();
    const shared = front.shares.allocate(1);
    const ref = shared.grant(0, back.domid, 'write');
    const mapping = back.grants.map(front.domid, [ref], 'write');
    const view = mapping.page(0);
    hypervisor.kill(front);
    view[0] = 1;
    expect(view[0]).toBe(1);
    expect(shared.bytes.length).toBe(0);
    expect(() => back.grants.map(front.domid, [ref], 'read')).toThrow(/not granted/);
    mapping.unmap();
  });

  test('drops its watches and leaves its open transaction undone', async () => {
    const { hypervisor, back } = world();
    const toolstack = hypervisor.open(0);
    const seen: string[] = [];
    await back.store.watch('/x', (path) => seen.push(path));
    await hypervisor.settle();
    expect(seen).toEqual(['/x']);
    const dead = back.store.transaction(async (view) => {
      await view.write('/x/half', '1');
      hypervisor.kill(back);
      await view.write('/x/whole', '1');
    });
    await expect(dead).rejects.toThrow(ModelKilled);
    await toolstack.store.write('/x/y', '1');
    await hypervisor.settle();
    expect(seen).toEqual(['/x']);
    expect(await toolstack.store.list('/x')).toEqual(['y']);
  });

  test('leaves a commit undone when it comes just before', async () => {
    const onStep = (what: string): void => {
      if (what === 'store.commit') throw new ModelKilled(what);
    };
    const { hypervisor, back } = world({}, { onStep });
    await expect(back.store.transaction((view) => view.write('/x', '1'))).rejects.toThrow(ModelKilled);
    expect(await hypervisor.open(0).store.read('/x')).toBeUndefined();
  });

  test('does not touch another process of the same domain', () => {
    const { hypervisor, back, front } = world();
    const other = hypervisor.open(0);
    const first = front.shares.allocate(1);
    const second = front.shares.allocate(1);
    back.grants.map(front.domid, [first.grant(0, 0, 'read')], 'read');
    const kept = other.grants.map(front.domid, [second.grant(0, 0, 'read')], 'read');
    const view = kept.page(0);
    hypervisor.kill(back);
    expect(view.length).toBe(PAGE_SIZE);
    expect(kept.mapped).toBe(true);
  });

  test('leaves dead code without effect: what begins something throws, what ends something does nothing', async () => {
    const { hypervisor, back, front } = world();
    const theirs = front.events.bindUnbound(back.domid, () => {});
    const ours = back.events.bind(front.domid, theirs.port, () => {});
    const ref = front.shares.allocate(1).grant(0, back.domid, 'read');
    const mapping = back.grants.map(front.domid, [ref], 'read');
    hypervisor.kill(back);
    expect(() => ours.notify()).toThrow(ModelKilled);
    expect(() => back.grants.map(front.domid, [ref], 'read')).toThrow(ModelKilled);
    back.clock.after(0, () => expect.unreachable('a timer of a process that was killed'));
    await expect(back.store.write('/a', '1')).rejects.toThrow(ModelKilled);
    mapping.unmap();
    ours.close();
    await back[Symbol.asyncDispose]();
  });
});

describe('steps', () => {
  test('are reported to `onStep` before they are taken, in order', async () => {
    const steps: string[] = [];
    const { back, front } = world({}, { onStep: (what) => steps.push(what) });
    const theirs = front.events.bindUnbound(back.domid, () => {});
    const ours = back.events.bind(front.domid, theirs.port, () => {});
    ours.notify();
    const mapping = back.grants.map(front.domid, [front.shares.allocate(1).grant(0, 0, 'read')], 'read');
    mapping.unmap();
    await back.store.write('/local/domain/0/x', '1');
    back.step('my own');
    ours.close();
    expect(steps).toEqual([
      'events.bind',
      'events.notify',
      'grants.map',
      'grants.unmap',
      'store.write /local/domain/0/x',
      'my own',
      'events.close',
    ]);
  });

  test.each([
    ['events.bind', (xens: World, port: number) => xens.back.events.bind(7, port, () => {})],
    ['batch.copyToGuest', (xens: World) => batchOn(xens).batch.copyToGuest()],
    ['grants.map', (xens: World) => xens.back.grants.map(7, [batchOn(xens).ref], 'read')],
  ])('ModelKilled thrown before %s ends the process there, and the step has no effect', (fatal, act) => {
    const onStep = (what: string): void => {
      if (what === fatal) throw new ModelKilled(what);
    };
    const xens = world({}, { onStep });
    const theirs = xens.front.events.bindUnbound(0, () => {});
    expect(() => act(xens, theirs.port)).toThrow(ModelKilled);
    expect(xens.back.alive).toBe(false);
    expect(xens.back.leaks()).toEqual([]);
    xens.hypervisor.open(0).events.bind(7, theirs.port, () => {});
  });

  test('ModelKilled in a callback ends that process and nothing else', async () => {
    const { hypervisor, back, front } = world();
    let theirEvents = 0;
    const theirs = front.events.bindUnbound(back.domid, () => theirEvents++);
    back.events.bind(front.domid, theirs.port, () => hypervisor.kill(back)).notify();
    back.events.bindUnbound(front.domid, () => {});
    await hypervisor.settle();
    expect([back.alive, front.alive, theirEvents]).toEqual([false, true, 1]);
  });

  test('another error of a callback comes out of settle', async () => {
    const { hypervisor, back, front } = world();
    const theirs = front.events.bindUnbound(back.domid, () => {});
    back.events.bind(front.domid, theirs.port, () => {
      throw new Error('our bug');
    });
    await expect(hypervisor.settle()).rejects.toThrow('our bug');
  });
});

describe('leaks', () => {
  test('names mapped grants, open ports and watches, and disposal refuses them', async () => {
    const xens = world();
    const { back, front } = xens;
    const { ref, batch } = batchOn(xens);
    const port = back.events.bindUnbound(front.domid, () => {}).port;
    back.grants.map(front.domid, [ref], 'read');
    batch.mapFromGuest();
    await back.store.watch('/x', () => {});
    expect(back.leaks()).toEqual([
      `mapped grants ${ref} of a batch`,
      `open port ${port}`,
      `mapped grants ${ref}`,
      'watch of /x',
    ]);
    await expect(back[Symbol.asyncDispose]()).rejects.toThrow(/did not give back: mapped grants/);
    expect(back.alive).toBe(false);
    await back[Symbol.asyncDispose]();
  });
});

describe('settling', () => {
  /** Two sides that send an event for each that comes. */
  function pingPong({ back, front }: World): void {
    const theirs = front.events.bindUnbound(back.domid, () => {
      theirs.unmask();
      theirs.notify();
    });
    const ours = back.events.bind(front.domid, theirs.port, () => {
      ours.unmask();
      ours.notify();
    });
  }

  test('gives up after so many steps, with an error that names what still waits', async () => {
    const xens = world({ stepsMax: 50 });
    pingPong(xens);
    await expect(xens.hypervisor.settle()).rejects.toThrow(
      /did not settle within 50 steps; waiting: event on port/,
    );
  });

  test('waits for the promises that callbacks lead to', async () => {
    const { hypervisor, back } = world();
    let done = false;
    back.clock.after(0, () => {
      void (async () => {
        for (let i = 0; i < 100; i++) await undefined;
        done = true;
      })();
    });
    await hypervisor.settle();
    expect(done).toBe(true);
  });

  test('lets time pass from timer to timer', async () => {
    const { hypervisor, back } = world();
    const fired: number[] = [];
    const again = (): void => {
      fired.push(back.clock.now());
      if (fired.length < 3) back.clock.after(10, again);
    };
    back.clock.after(10, again);
    using cancelled = back.clock.after(15, () => fired.push(-1));
    cancelled[Symbol.dispose]();
    await hypervisor.advance(25);
    expect(fired).toEqual([10, 20]);
    expect(back.clock.now()).toBe(25);
  });

  /** @returns in which order events of eight channels arrive. */
  async function order(seed: number | undefined): Promise<number[]> {
    const { hypervisor, back, front } = world(seed === undefined ? {} : { seed });
    const arrived: number[] = [];
    for (let channel = 0; channel < 8; channel++) {
      const { port } = front.events.bindUnbound(back.domid, () => {});
      back.events.bind(front.domid, port, () => arrived.push(channel));
    }
    await hypervisor.settle();
    return arrived;
  }

  test('is the same for the same seed, another for another, and first come first served without', async () => {
    expect(await order(1)).toEqual(await order(1));
    expect(await order(1)).not.toEqual(await order(2));
    expect(await order(undefined)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe('grant references', () => {
  test('are used again only when all others were', () => {
    const { back, front } = world({ seed: 5 });
    const shared = front.shares.allocate(1);
    const used = new Set<number>();
    for (let i = 0; i < 32_760; i++) {
      const ref = shared.grant(0, back.domid, 'read');
      used.add(ref);
      shared.end(ref);
    }
    expect(used.size).toBe(32_760);
    expect(Math.min(...used)).toBe(8);
    expect(used.has(shared.grant(0, back.domid, 'read'))).toBe(true);
  });
});

describe('faults', () => {
  test('fail every n-th operation of a batch with GNTST_eagain', () => {
    const { batch } = batchOn(world({ faults: { grantFailsEvery: 2 } }), 4);
    batch.copyFromGuest();
    expect(statuses(batch.ops)).toEqual([0, GNTST_EAGAIN, 0, GNTST_EAGAIN]);
  });

  test('add events that no peer sent', async () => {
    const { hypervisor, back, front } = world({ faults: { strayEventEvery: 2 } });
    let events = 0;
    const theirs = front.events.bindUnbound(back.domid, () => {});
    const ours = back.events.bind(front.domid, theirs.port, () => {
      events++;
      ours.unmask();
    });
    await hypervisor.settle();
    theirs.notify();
    await hypervisor.settle();
    expect(events).toBe(3);
  });

  test('bring watches after everything else', async () => {
    const { hypervisor, back, front } = world({ faults: { watchesLate: true } });
    const order: string[] = [];
    await back.store.watch('/x', () => order.push('watch'));
    const { port } = front.events.bindUnbound(back.domid, () => {});
    back.events.bind(front.domid, port, () => order.push('event'));
    await hypervisor.settle();
    expect(order).toEqual(['event', 'watch']);
  });
});

describe('by itself', () => {
  test.each([0, 5])(
    'ends a process with a kill in one of its timers, after %i ms, and nothing else',
    async (delayMs) => {
      const hypervisor = new ModelHypervisor({ autorun: true });
      const dying = hypervisor.open(0, {
        onStep: (what) => {
          throw new ModelKilled(what);
        },
      });
      const other = hypervisor.open(7);
      // An uncaught error, of which its process would die, fails the test.
      await new Promise<void>((resolve) => {
        dying.clock.after(delayMs, () => dying.step('in a timer'));
        other.clock.after(20, resolve);
      });
      expect([dying.alive, other.alive]).toEqual([false, true]);
    },
  );

  test('delivers events and watches and fires timers without settle', async () => {
    const { back, front } = world({ autorun: true });
    const happened = await new Promise<string[]>((resolve) => {
      const seen: string[] = [];
      const note = (what: string): void => {
        if (seen.push(what) === 4) resolve(seen);
      };
      void back.store.watch('/x', () => note('watch'));
      const { port } = front.events.bindUnbound(back.domid, () => {});
      back.events.bind(front.domid, port, () => note('event'));
      back.clock.after(0, () => note('turn'));
      back.clock.after(5, () => note('timer'));
    });
    expect(new Set(happened)).toEqual(new Set(['watch', 'event', 'turn', 'timer']));
    expect(happened[3]).toBe('timer');
  });
});
