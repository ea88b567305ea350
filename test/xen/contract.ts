/**
 * What `Xen` promises (lib/xen/types.ts), as tests. The model and the native addon both have to pass them, so that
 * whatever is proven on the model can be said of the real thing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Arena,
  type GrantBatch,
  OP_ARENA,
  OP_HEAD,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
  type SharedPages,
  type Xen,
} from '../../lib/xen/types.js';

/** Two domains of one hypervisor, seen from one process. */
export interface XenPair {
  readonly backend: Xen;
  /** Has `shares`. */
  readonly frontend: Xen;
  /** Resolves when whatever is under way between the two has arrived. Default: 20 ms of real time. */
  settle?(): Promise<void>;
  close(): Promise<void>;
}

const GNTST_bad_copy_arg = -10;

interface Op {
  readonly ref: number;
  readonly offset?: number;
  readonly length: number;
  readonly arena: number;
  readonly head?: number;
}

function fill(batch: GrantBatch, ops: readonly Op[]): void {
  batch.ops[OPS_COUNT] = ops.length;
  ops.forEach((op, index) => {
    const at = OPS_HEADER_WORDS + index * OP_WORDS;
    batch.ops[at + OP_REF] = op.ref;
    batch.ops[at + OP_SPAN] = ((op.offset ?? 0) | (op.length << 16)) >>> 0;
    batch.ops[at + OP_ARENA] = op.arena;
    batch.ops[at + OP_HEAD] = op.head ?? 0;
    batch.ops[at + OP_STATUS] = 0xdead;
  });
}

function statuses(batch: GrantBatch): number[] {
  const count = batch.ops[OPS_COUNT] as number;
  return Array.from(
    { length: count },
    (_, i) => (batch.ops[OPS_HEADER_WORDS + i * OP_WORDS + OP_STATUS] as number) | 0,
  );
}

/** Bytes that differ from page to page and along a page. */
function paint(memory: Uint8Array, seed: number): void {
  for (let i = 0; i < memory.length; i++) memory[i] = (seed + i + (i >> 12) * 7) & 0xff;
}

function slice(memory: Uint8Array, start: number, length: number): number[] {
  return Array.from(memory.subarray(start, start + length));
}

/**
 * Registers the contract's tests.
 * @param skip why this implementation cannot run here; its tests are then skipped under that reason.
 */
export function xenContract(name: string, open: () => Promise<XenPair>, skip?: string): void {
  describe.skipIf(skip !== undefined)(skip === undefined ? name : `${name} (skipped: ${skip})`, () => {
    let pair: XenPair;
    const world: World = {
      get backend() {
        return pair.backend;
      },
      get frontend() {
        return pair.frontend;
      },
      allocate: (pages) => {
        const shares = pair.frontend.shares;
        if (shares === undefined) throw new Error('the contract needs a frontend with shares');
        return shares.allocate(pages);
      },
      settle: () => pair.settle?.() ?? sleep(20),
      eventually: async (condition) => {
        for (let round = 0; round < 100 && !condition(); round++) await world.settle();
        expect(condition()).toBe(true);
      },
    };
    beforeEach(async () => {
      pair = await open();
    });
    afterEach(async () => {
      await pair.close();
    });
    describe('arena', () => arenaTests(world));
    describe('mapping', () => mappingTests(world));
    describe('copy batch', () => copyTests(world));
    describe('map batch', () => mapBatchTests(world));
    describe('shares', () => shareTests(world));
    describe('binding events', () => bindTests(world));
    describe('delivering events', () => deliveryTests(world));
  });
}

interface World {
  readonly backend: Xen;
  readonly frontend: Xen;
  allocate(pages: number): SharedPages;
  settle(): Promise<void>;
  eventually(condition: () => boolean): Promise<void>;
}

function arenaTests(world: World): void {
  test('is zeroed, rounded up to whole pages and seen as bytes and as words', () => {
    const arena = world.backend.grants.arena(PAGE_SIZE + 1);
    expect(arena.bytes.length).toBe(2 * PAGE_SIZE);
    expect(arena.u32.length).toBe((2 * PAGE_SIZE) / 4);
    expect(arena.bytes.every((byte) => byte === 0)).toBe(true);
    arena.u32[1] = 0x04030201;
    expect(slice(arena.bytes, 4, 4)).toEqual([1, 2, 3, 4]);
  });
}

function mappingTests(world: World): void {
  test('shows the same memory to both domains', () => {
    const shared = world.allocate(2);
    const refs = [0, 1].map((page) => shared.grant(page, world.backend.domid, 'write'));
    const mapping = world.backend.grants.map(world.frontend.domid, refs, 'write');
    expect(mapping.mapped).toBe(true);
    expect(mapping.page(0).length).toBe(PAGE_SIZE);
    shared.bytes[PAGE_SIZE + 3] = 77;
    expect(mapping.page(1)[3]).toBe(77);
    mapping.page(0)[9] = 99;
    expect(shared.bytes[9]).toBe(99);
    mapping.unmap();
  });

  test('keeps the order of the references, whatever it is', () => {
    const shared = world.allocate(3);
    for (let page = 0; page < 3; page++) shared.bytes[page * PAGE_SIZE] = page + 1;
    const refs = [2, 0, 1].map((page) => shared.grant(page, world.backend.domid, 'read'));
    const mapping = world.backend.grants.map(world.frontend.domid, refs, 'read');
    expect([0, 1, 2].map((index) => mapping.page(index)[0])).toEqual([3, 1, 2]);
    mapping.unmap();
  });

  test('leaves a held view empty after unmap, and refuses new ones', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'write');
    const mapping = world.backend.grants.map(world.frontend.domid, [ref], 'write');
    const held = mapping.page(0);
    mapping.unmap();
    expect(held.length).toBe(0);
    expect(held[0]).toBeUndefined();
    held[0] = 1;
    expect(mapping.mapped).toBe(false);
    expect(() => mapping.page(0)).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
    mapping.unmap();
  });

  test("leaves the granter's memory as it was after unmap", () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'write');
    const mapping = world.backend.grants.map(world.frontend.domid, [ref], 'write');
    mapping.page(0)[5] = 55;
    mapping.unmap();
    expect(shared.bytes.length).toBe(PAGE_SIZE);
    expect(shared.bytes[5]).toBe(55);
  });

  test('maps all or none, and names the reference that was not granted', () => {
    const shared = world.allocate(1);
    const good = shared.grant(0, world.backend.domid, 'write');
    const bad = good + 1000;
    expect(() => world.backend.grants.map(world.frontend.domid, [good, bad], 'write')).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_GRANT', message: expect.stringContaining(String(bad)) }),
    );
    expect(shared.end(good)).toBe(true);
  });

  test('refuses to write what was granted for reading', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'read');
    expect(() => world.backend.grants.map(world.frontend.domid, [ref], 'write')).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_GRANT' }),
    );
    world.backend.grants.map(world.frontend.domid, [ref], 'read').unmap();
  });

  test('refuses what was granted to another domain', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid + 4321, 'write');
    expect(() => world.backend.grants.map(world.frontend.domid, [ref], 'read')).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_GRANT' }),
    );
  });

  test('may map a page more than once', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'write');
    const first = world.backend.grants.map(world.frontend.domid, [ref], 'write');
    const second = world.backend.grants.map(world.frontend.domid, [ref], 'write');
    first.page(0)[0] = 5;
    expect(second.page(0)[0]).toBe(5);
    first.unmap();
    expect(second.page(0)[0]).toBe(5);
    expect(shared.end(ref)).toBe(false);
    second.unmap();
    expect(shared.end(ref)).toBe(true);
  });
}

interface Granted {
  readonly shared: SharedPages;
  readonly refs: number[];
  readonly arena: Arena;
  readonly batch: GrantBatch;
}

function granted(world: World, pages: number, access: 'read' | 'write', capacity = pages): Granted {
  const shared = world.allocate(pages);
  const refs = Array.from({ length: pages }, (_, page) => shared.grant(page, world.backend.domid, access));
  const arena = world.backend.grants.arena(capacity * PAGE_SIZE);
  const batch = world.backend.grants.batch({ domid: world.frontend.domid, capacity, arena });
  return { shared, refs, arena, batch };
}

function copyTests(world: World): void {
  test('has room for its operations and a header', () => {
    const { batch } = granted(world, 1, 'read', 7);
    expect(batch.capacity).toBe(7);
    expect(batch.ops.length).toBe(OPS_HEADER_WORDS + 7 * OP_WORDS);
    batch[Symbol.dispose]();
  });

  test('copies any part of a page to any place in the arena', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'read');
    paint(shared.bytes, 1);
    fill(batch, [
      { ref: refs[1]!, offset: 4000, length: 96, arena: 4095 },
      { ref: refs[0]!, offset: 1, length: 13, arena: 7 },
    ]);
    batch.copyFromGuest();
    expect(statuses(batch)).toEqual([0, 0]);
    expect(slice(arena.bytes, 4095, 96)).toEqual(slice(shared.bytes, PAGE_SIZE + 4000, 96));
    expect(slice(arena.bytes, 7, 13)).toEqual(slice(shared.bytes, 1, 13));
    expect(slice(arena.bytes, 20, 4)).toEqual([0, 0, 0, 0]);
    batch[Symbol.dispose]();
  });

  test('copies from the arena to the pages', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'write');
    paint(arena.bytes, 9);
    fill(batch, [{ ref: refs[1]!, offset: 256, length: 3000, arena: 5000 }]);
    batch.copyToGuest();
    expect(statuses(batch)).toEqual([0]);
    expect(slice(shared.bytes, PAGE_SIZE + 256, 3000)).toEqual(slice(arena.bytes, 5000, 3000));
    expect(shared.bytes[PAGE_SIZE + 255]).toBe(0);
    expect(shared.bytes[PAGE_SIZE + 3256]).toBe(0);
    batch[Symbol.dispose]();
  });

  test('gives each operation its own status and does the others', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'read', 3);
    paint(shared.bytes, 3);
    fill(batch, [
      { ref: refs[0]!, length: 100, arena: 0 },
      { ref: refs[1]! + 1000, length: 100, arena: 200 },
      { ref: refs[1]!, length: 100, arena: 400 },
    ]);
    batch.copyFromGuest();
    const [first, second, third] = statuses(batch);
    expect([first, third]).toEqual([0, 0]);
    expect(second).toBeLessThan(0);
    expect(slice(arena.bytes, 400, 100)).toEqual(slice(shared.bytes, PAGE_SIZE, 100));
    expect(slice(arena.bytes, 200, 100).every((byte) => byte === 0)).toBe(true);
    batch[Symbol.dispose]();
  });

  test('does not write to a page granted for reading', () => {
    const { shared, refs, arena, batch } = granted(world, 1, 'read');
    paint(arena.bytes, 5);
    fill(batch, [{ ref: refs[0]!, length: 10, arena: 0 }]);
    batch.copyToGuest();
    expect(statuses(batch)[0]).toBeLessThan(0);
    expect(shared.bytes[1]).toBe(0);
    batch[Symbol.dispose]();
  });

  test('refuses operations that reach outside the page or the arena', () => {
    const { refs, arena, batch } = granted(world, 1, 'write', 6);
    const ref = refs[0]!;
    const end = arena.bytes.length;
    fill(batch, [
      { ref, offset: 4000, length: 97, arena: 0 },
      { ref, offset: 0xffff, length: 1, arena: 0 },
      { ref, offset: 0, length: 0xffff, arena: 0 },
      { ref, length: 16, arena: end - 15 },
      { ref, length: 16, arena: 0xffffffff },
      { ref, length: 16, arena: end - 16 },
    ]);
    const expected = [...Array(5).fill(GNTST_bad_copy_arg), 0];
    batch.copyFromGuest();
    expect(statuses(batch)).toEqual(expected);
    batch.copyToGuest();
    expect(statuses(batch)).toEqual(expected);
    batch[Symbol.dispose]();
  });

  test('moves 256 pages in one call', () => {
    const { shared, refs, arena, batch } = granted(world, 256, 'read');
    paint(shared.bytes, 11);
    fill(
      batch,
      refs.map((ref, page) => ({ ref, length: PAGE_SIZE, arena: page * PAGE_SIZE })),
    );
    batch.copyFromGuest();
    expect(statuses(batch).every((status) => status === 0)).toBe(true);
    expect(Buffer.compare(arena.bytes, shared.bytes)).toBe(0);
    batch[Symbol.dispose]();
  });

  test('does nothing for an empty batch, and no more than its capacity', () => {
    const { shared, refs, arena, batch } = granted(world, 1, 'read');
    shared.bytes[0] = 1;
    fill(batch, []);
    batch.copyFromGuest();
    expect(arena.bytes[0]).toBe(0);
    fill(batch, [{ ref: refs[0]!, length: 1, arena: 0 }]);
    batch.ops[OPS_COUNT] = 0xffffffff;
    batch.copyFromGuest();
    expect(arena.bytes[0]).toBe(1);
    batch[Symbol.dispose]();
  });

  test('cannot be used after disposal', () => {
    const { batch } = granted(world, 1, 'read');
    batch[Symbol.dispose]();
    batch[Symbol.dispose]();
    expect(() => batch.copyFromGuest()).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
  });
}

function mapBatchTests(world: World): void {
  test('moves the head of each span to the arena, and no more', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'read');
    paint(shared.bytes, 21);
    fill(batch, [
      { ref: refs[1]!, offset: 100, length: 900, arena: 50, head: 64 },
      { ref: refs[0]!, offset: 8, length: 40, arena: 4096, head: 0 },
    ]);
    batch.mapFromGuest();
    expect(statuses(batch)).toEqual([0, 0]);
    expect(slice(arena.bytes, 50, 64)).toEqual(slice(shared.bytes, PAGE_SIZE + 100, 64));
    expect(arena.bytes[50 + 64]).toBe(0);
    expect(arena.bytes[4096]).toBe(0);
    batch.unmap();
    batch[Symbol.dispose]();
  });

  test('keeps the pages mapped until unmap', () => {
    const { shared, refs, batch } = granted(world, 1, 'read');
    fill(batch, [{ ref: refs[0]!, length: 10, arena: 0, head: 10 }]);
    batch.mapFromGuest();
    expect(shared.end(refs[0]!)).toBe(false);
    batch.unmap();
    batch.unmap();
    expect(shared.end(refs[0]!)).toBe(true);
    batch[Symbol.dispose]();
  });

  test('ends the earlier mapping when it maps again or is disposed', () => {
    const { shared, refs, batch } = granted(world, 2, 'read');
    fill(batch, [{ ref: refs[0]!, length: 10, arena: 0, head: 10 }]);
    batch.mapFromGuest();
    fill(batch, [{ ref: refs[1]!, length: 10, arena: 0, head: 10 }]);
    batch.mapFromGuest();
    expect(shared.end(refs[0]!)).toBe(true);
    expect(shared.end(refs[1]!)).toBe(false);
    batch[Symbol.dispose]();
    expect(shared.end(refs[1]!)).toBe(true);
  });

  test('moves heads from the arena to the pages and leaves nothing mapped', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'write');
    paint(arena.bytes, 31);
    fill(batch, [
      { ref: refs[0]!, offset: 2, length: 30, arena: 6, head: 30 },
      { ref: refs[1]!, offset: 4090, length: 6, arena: 99, head: 6 },
    ]);
    batch.mapToGuest();
    expect(statuses(batch)).toEqual([0, 0]);
    expect(slice(shared.bytes, 2, 30)).toEqual(slice(arena.bytes, 6, 30));
    expect(slice(shared.bytes, PAGE_SIZE + 4090, 6)).toEqual(slice(arena.bytes, 99, 6));
    expect(shared.bytes[1]).toBe(0);
    expect(refs.map((ref) => shared.end(ref))).toEqual([true, true]);
    batch[Symbol.dispose]();
  });

  test('maps the good ones when some are bad', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'read', 4);
    paint(shared.bytes, 41);
    fill(batch, [
      { ref: refs[0]!, length: 10, arena: 0, head: 10 },
      { ref: refs[1]! + 1000, length: 10, arena: 100, head: 10 },
      { ref: refs[1]!, offset: 4095, length: 2, arena: 0, head: 2 },
      { ref: refs[1]!, length: 10, arena: 200, head: 10 },
    ]);
    batch.mapFromGuest();
    const [first, second, third, fourth] = statuses(batch);
    expect([first, third, fourth]).toEqual([0, GNTST_bad_copy_arg, 0]);
    expect(second).toBeLessThan(0);
    expect(slice(arena.bytes, 200, 10)).toEqual(slice(shared.bytes, PAGE_SIZE, 10));
    batch.unmap();
    expect(refs.map((ref) => shared.end(ref))).toEqual([true, true]);
    batch[Symbol.dispose]();
  });

  test('refuses a head that is longer than its span or does not fit the arena', () => {
    const { refs, arena, batch } = granted(world, 1, 'write', 2);
    fill(batch, [
      { ref: refs[0]!, length: 10, arena: 0, head: 11 },
      { ref: refs[0]!, length: 100, arena: arena.bytes.length - 9, head: 10 },
    ]);
    batch.mapToGuest();
    expect(statuses(batch)).toEqual([GNTST_bad_copy_arg, GNTST_bad_copy_arg]);
    batch.mapFromGuest();
    expect(statuses(batch)).toEqual([GNTST_bad_copy_arg, GNTST_bad_copy_arg]);
    batch[Symbol.dispose]();
  });
}

function shareTests(world: World): void {
  test('gives zeroed, contiguous pages', () => {
    const shared = world.allocate(3);
    expect(shared.pages).toBe(3);
    expect(shared.bytes.length).toBe(3 * PAGE_SIZE);
    expect(shared.u32.length).toBe((3 * PAGE_SIZE) / 4);
    expect(shared.bytes.every((byte) => byte === 0)).toBe(true);
  });

  test('gives each grant a reference of its own', () => {
    const shared = world.allocate(4);
    const refs = [0, 1, 2, 3].map((page) => shared.grant(page, world.backend.domid, 'read'));
    expect(new Set(refs).size).toBe(4);
    expect(refs.every((ref) => ref > 0)).toBe(true);
  });

  test('does not end a grant that is mapped', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'write');
    const mapping = world.backend.grants.map(world.frontend.domid, [ref], 'write');
    expect(shared.end(ref)).toBe(false);
    mapping.page(0)[0] = 1;
    expect(shared.bytes[0]).toBe(1);
    mapping.unmap();
    expect(shared.end(ref)).toBe(true);
  });

  test('an ended grant can no longer be used', () => {
    const { shared, refs, batch } = granted(world, 1, 'write');
    expect(shared.end(refs[0]!)).toBe(true);
    expect(() => world.backend.grants.map(world.frontend.domid, refs, 'read')).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_GRANT' }),
    );
    fill(batch, [{ ref: refs[0]!, length: 1, arena: 0 }]);
    batch.copyFromGuest();
    expect(statuses(batch)[0]).toBeLessThan(0);
    batch[Symbol.dispose]();
  });

  test('disposing the pages ends their grants', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'write');
    shared[Symbol.dispose]();
    shared[Symbol.dispose]();
    expect(() => world.backend.grants.map(world.frontend.domid, [ref], 'read')).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_GRANT' }),
    );
  });

  test('refuses a page that is not there', () => {
    const shared = world.allocate(1);
    expect(() => shared.grant(1, world.backend.domid, 'read')).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
  });
}

function bindTests(world: World): void {
  test('an event is pending on a port that was just bound', async () => {
    let events = 0;
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => events++);
    await world.eventually(() => events === 1);
    ours.close();
    theirs.close();
  });

  test('a port can be bound again after the other end closed, and events flow again', async () => {
    let seen = 0;
    let again = 0;
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => seen++);
    const first = world.backend.events.bind(world.frontend.domid, theirs.port, () => {});
    first.close();
    first.close();
    const second = world.backend.events.bind(world.frontend.domid, theirs.port, () => again++);
    await world.eventually(() => again === 1);
    theirs.unmask();
    await world.settle();
    seen = 0;
    theirs.unmask();
    second.notify();
    await world.eventually(() => seen === 1);
    second.close();
    theirs.close();
  });

  test('a port is bound once', () => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => {});
    expect(() => world.backend.events.bind(world.frontend.domid, theirs.port, () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
    );
    ours.close();
    theirs.close();
  });

  test('a port left for another domain is refused', () => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid + 4321, () => {});
    expect(() => world.backend.events.bind(world.frontend.domid, theirs.port, () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
    );
    theirs.close();
  });

  test('a port that is not there is refused', () => {
    expect(() => world.backend.events.bind(world.frontend.domid, 999, () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
    );
  });

  test('notifying an end that is gone does nothing', async () => {
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    theirs.notify();
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => {});
    theirs.close();
    ours.notify();
    ours.close();
    ours.notify();
    ours.unmask();
    await world.settle();
  });
}

function deliveryTests(world: World): void {
  interface Wire {
    readonly ours: { notify(): void; unmask(): void; close(): void; readonly port: number };
    readonly theirs: { notify(): void; unmask(): void; close(): void; readonly port: number };
    count: { ours: number; theirs: number };
  }

  /** A bound channel with nothing pending and nothing masked. */
  async function wire(): Promise<Wire> {
    const count = { ours: 0, theirs: 0 };
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => count.theirs++);
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => count.ours++);
    await world.eventually(() => count.ours === 1);
    ours.unmask();
    theirs.unmask();
    await world.settle();
    theirs.unmask();
    count.ours = 0;
    count.theirs = 0;
    return { ours, theirs, count };
  }

  test('both ways', async () => {
    const { ours, theirs, count } = await wire();
    theirs.notify();
    await world.eventually(() => count.ours === 1);
    ours.notify();
    await world.eventually(() => count.theirs === 1);
    expect(count).toEqual({ ours: 1, theirs: 1 });
    ours.close();
    theirs.close();
  });

  test('events sent before the handler runs are one event', async () => {
    const { ours, theirs, count } = await wire();
    for (let i = 0; i < 5; i++) theirs.notify();
    await world.settle();
    expect(count.ours).toBe(1);
    ours.close();
    theirs.close();
  });

  test('the channel is masked from the event until unmask, and what came meanwhile is one event', async () => {
    const { ours, theirs, count } = await wire();
    theirs.notify();
    await world.eventually(() => count.ours === 1);
    theirs.notify();
    theirs.notify();
    await world.settle();
    expect(count.ours).toBe(1);
    ours.unmask();
    await world.eventually(() => count.ours === 2);
    ours.unmask();
    await world.settle();
    expect(count.ours).toBe(2);
    ours.close();
    theirs.close();
  });

  test('each channel has its own events', async () => {
    const a = await wire();
    const b = await wire();
    expect(a.ours.port).not.toBe(b.ours.port);
    b.theirs.notify();
    await world.eventually(() => b.count.ours === 1);
    expect(a.count.ours).toBe(0);
    for (const end of [a.ours, a.theirs, b.ours, b.theirs]) end.close();
  });

  test('a closed channel has no events, not even one that was pending', async () => {
    const { ours, theirs, count } = await wire();
    theirs.notify();
    ours.close();
    theirs.notify();
    await world.settle();
    expect(count.ours).toBe(0);
    theirs.close();
  });

  test('a handler may close its channel', async () => {
    let events = 0;
    const theirs = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const ours = world.backend.events.bind(world.frontend.domid, theirs.port, () => {
      events++;
      ours.close();
    });
    await world.eventually(() => events === 1);
    theirs.notify();
    await world.settle();
    expect(events).toBe(1);
    theirs.close();
  });
}
