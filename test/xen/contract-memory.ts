/** The contract of Grants and Shares, but for batches. */
import { expect, test } from 'vitest';
import { PAGE_SIZE } from '../../lib/xen/seam.js';
import { fill, granted, slice, statuses, type World } from './contract-world.js';

export function arenaTests(world: World): void {
  test('is zeroed, rounded up to whole pages and seen as bytes and as words', () => {
    const arena = world.backend.grants.arena(PAGE_SIZE + 1);
    expect(arena.bytes.length).toBe(2 * PAGE_SIZE);
    expect(arena.u32.length).toBe((2 * PAGE_SIZE) / 4);
    expect(arena.bytes.every((byte) => byte === 0)).toBe(true);
    arena.u32[1] = 0x04030201;
    expect(slice(arena.bytes, 4, 4)).toEqual([1, 2, 3, 4]);
  });
}

export function mappingTests(world: World): void {
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

export function shareTests(world: World): void {
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
