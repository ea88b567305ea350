/** The contract of StagedGrants: how batches use grants that stay mapped. */
import { expect, test } from 'vitest';
import {
  type Access,
  type Arena,
  type GrantBatch,
  PAGE_SIZE,
  type StagedGrants,
} from '../../lib/xen/seam.js';
import { fill, granted, paint, slice, statuses, type World } from './contract-world.js';

interface Staging {
  readonly staged: StagedGrants;
  readonly arena: Arena;
  readonly batch: GrantBatch;
  readonly shared: ReturnType<typeof granted>['shared'];
  readonly refs: readonly number[];
}

function staging(world: World, pages: number, access: Access): Staging {
  const { shared, refs } = granted(world, pages, access);
  const domid = world.frontend.domid;
  const arena = world.backend.grants.arena(8 * PAGE_SIZE);
  const staged = world.backend.grants.staged(domid);
  const batch = world.backend.grants.batch({ domid, capacity: 8, arena, staged });
  return { staged, arena, batch, shared, refs };
}

function end({ batch, staged }: Staging): void {
  batch[Symbol.dispose]();
  staged[Symbol.dispose]();
}

export function stagedTests(world: World): void {
  test('moves bytes of those that are staged and of those that are not, in one call', () => {
    const all = staging(world, 3, 'write');
    const { staged, arena, batch, shared, refs } = all;
    paint(shared.bytes, 51);
    expect(staged.add([refs[0]!, refs[2]!], 'write')).toBe(true);
    expect(staged.size).toBe(2);
    fill(batch, [
      { ref: refs[2]!, offset: 100, length: 900, arena: 50 },
      { ref: refs[1]!, offset: 7, length: 30, arena: 2000 },
      { ref: refs[0]!, offset: 4090, length: 6, arena: 3000 },
    ]);
    batch.copyFromGuest();
    expect(statuses(batch)).toEqual([0, 0, 0]);
    expect(slice(arena.bytes, 50, 900)).toEqual(slice(shared.bytes, 2 * PAGE_SIZE + 100, 900));
    expect(slice(arena.bytes, 2000, 30)).toEqual(slice(shared.bytes, PAGE_SIZE + 7, 30));
    expect(slice(arena.bytes, 3000, 6)).toEqual(slice(shared.bytes, 4090, 6));
    paint(arena.bytes, 99);
    batch.copyToGuest();
    expect(statuses(batch)).toEqual([0, 0, 0]);
    expect(slice(shared.bytes, 2 * PAGE_SIZE + 100, 900)).toEqual(slice(arena.bytes, 50, 900));
    expect(slice(shared.bytes, PAGE_SIZE + 7, 30)).toEqual(slice(arena.bytes, 2000, 30));
    end(all);
  });

  test('serves map batches, and stays mapped when these unmap', () => {
    const all = staging(world, 2, 'write');
    const { staged, arena, batch, shared, refs } = all;
    paint(shared.bytes, 61);
    expect(staged.add([refs[0]!], 'write')).toBe(true);
    fill(batch, [
      { ref: refs[0]!, offset: 8, length: 40, arena: 16, head: 20 },
      { ref: refs[1]!, offset: 9, length: 40, arena: 100, head: 40 },
    ]);
    batch.mapFromGuest();
    expect(statuses(batch)).toEqual([0, 0]);
    expect(slice(arena.bytes, 16, 20)).toEqual(slice(shared.bytes, 8, 20));
    expect(slice(arena.bytes, 100, 40)).toEqual(slice(shared.bytes, PAGE_SIZE + 9, 40));
    batch.unmap();
    expect(refs.map((ref) => shared.end(ref))).toEqual([false, true]);
    fill(batch, [{ ref: refs[0]!, offset: 2000, length: 10, arena: 100, head: 10 }]);
    batch.mapToGuest();
    expect(slice(shared.bytes, 2000, 10)).toEqual(slice(arena.bytes, 100, 10));
    end(all);
    expect(shared.end(refs[0]!)).toBe(true);
  });

  test('reaches no further than a page or the arena', () => {
    const all = staging(world, 1, 'write');
    const { staged, arena, batch, refs } = all;
    staged.add([refs[0]!], 'write');
    const ref = refs[0]!;
    fill(batch, [
      { ref, offset: 4000, length: 97, arena: 0, head: 97 },
      { ref, length: 16, arena: arena.bytes.length - 15, head: 16 },
      { ref, length: 16, arena: 0xffffffff, head: 16 },
    ]);
    for (const move of ['copyFromGuest', 'copyToGuest', 'mapToGuest', 'mapFromGuest'] as const) {
      batch[move]();
      expect(statuses(batch)).toEqual([-10, -10, -10]);
    }
    end(all);
  });

  test('are not needed for an operation without bytes', () => {
    const all = staging(world, 1, 'write');
    const { staged, batch, refs } = all;
    staged.add([refs[0]!], 'write');
    fill(batch, [
      { ref: refs[0]!, length: 0, arena: 0 },
      { ref: refs[0]! + 1000, length: 0, arena: 0 },
      { ref: refs[0]!, length: 8, arena: 0, head: 8 },
    ]);
    for (const move of ['copyFromGuest', 'copyToGuest', 'mapToGuest', 'mapFromGuest'] as const) {
      batch[move]();
      expect(statuses(batch)).toEqual([0, 0, 0]);
    }
    end(all);
  });

  test('maps all of a list or none', () => {
    const all = staging(world, 2, 'read');
    const { staged, batch, shared, refs } = all;
    expect(staged.add([refs[0]!, refs[1]! + 1000], 'read')).toBe(false);
    // Granted for reading only.
    expect(staged.add([refs[0]!, refs[1]!], 'write')).toBe(false);
    expect(staged.size).toBe(0);
    expect(shared.end(refs[0]!)).toBe(true);
    expect(staged.add([refs[1]!], 'read')).toBe(true);
    // For writing it is asked of the hypervisor, which refuses.
    fill(batch, [{ ref: refs[1]!, length: 10, arena: 0 }]);
    batch.copyToGuest();
    expect(statuses(batch)[0]).toBeLessThan(0);
    end(all);
  });

  test('unmaps some of a list and keeps the others mapped', () => {
    const all = staging(world, 4, 'read');
    const { staged, arena, batch, shared, refs } = all;
    paint(shared.bytes, 71);
    staged.add(refs.slice(0, 3), 'read');
    staged.remove([refs[1]!, refs[3]!, 0xfffff]);
    expect(staged.size).toBe(2);
    expect(refs.map((ref) => shared.end(ref))).toEqual([false, true, false, true]);
    fill(batch, [
      { ref: refs[2]!, length: 64, arena: 0 },
      { ref: refs[1]!, length: 64, arena: 64 },
      { ref: refs[0]!, length: 64, arena: 128 },
    ]);
    batch.copyFromGuest();
    const [first, gone, last] = statuses(batch);
    expect([first, last]).toEqual([0, 0]);
    expect(gone).toBeLessThan(0);
    expect(slice(arena.bytes, 0, 64)).toEqual(slice(shared.bytes, 2 * PAGE_SIZE, 64));
    expect(slice(arena.bytes, 128, 64)).toEqual(slice(shared.bytes, 0, 64));
    staged.remove(refs);
    expect([staged.size, shared.end(refs[0]!), shared.end(refs[2]!)]).toEqual([0, true, true]);
    end(all);
  });

  test('maps as many as two rings have slots, and finds each', () => {
    const all = staging(world, 512, 'read');
    const { staged, arena, batch, shared, refs } = all;
    for (let page = 0; page < 512; page++) shared.u32[page * (PAGE_SIZE / 4)] = page * 7 + 1;
    for (let from = 0; from < 512; from += 128) staged.add(refs.slice(from, from + 128), 'read');
    for (let from = 0; from < 512; from += 8) {
      fill(
        batch,
        refs.slice(from, from + 8).map((ref, i) => ({ ref, length: 4, arena: i * 4 })),
      );
      batch.copyFromGuest();
      expect([...arena.u32.subarray(0, 8)]).toEqual(Array.from({ length: 8 }, (_, i) => (from + i) * 7 + 1));
    }
    end(all);
  });

  test('maps many one by one, and unmaps them one by one', () => {
    const all = staging(world, 100, 'write');
    const { staged, arena, batch, shared, refs } = all;
    paint(shared.bytes, 81);
    for (const [page, ref] of refs.entries())
      expect(staged.add([ref], page % 3 === 0 ? 'read' : 'write')).toBe(true);
    expect(staged.size).toBe(100);
    for (const page of [0, 1, 50, 99]) {
      fill(batch, [{ ref: refs[page]!, offset: 3, length: 64, arena: 0 }]);
      batch.copyFromGuest();
      expect(slice(arena.bytes, 0, 64)).toEqual(slice(shared.bytes, page * PAGE_SIZE + 3, 64));
    }
    for (const ref of refs.slice(10)) staged.remove([ref]);
    expect([staged.size, shared.end(refs[9]!), shared.end(refs[10]!)]).toEqual([10, false, true]);
    end(all);
  });

  test('is empty after disposal, and takes no more', () => {
    const all = staging(world, 1, 'read');
    all.staged.add(all.refs, 'read');
    end(all);
    all.staged[Symbol.dispose]();
    expect(all.staged.size).toBe(0);
    expect(all.shared.end(all.refs[0]!)).toBe(true);
    expect(() => all.staged.add(all.refs, 'read')).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
  });
}
