/** The contract of GrantBatch. */
import { expect, test } from 'vitest';
import {
  type GrantBatch,
  OP_WORDS,
  OPS_COUNT,
  OPS_FAILED,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
} from '../../lib/xen/seam.js';
import {
  fill,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  granted,
  paint,
  slice,
  statuses,
  type World,
} from './contract-world.js';

/**
 * A guest may send empty slots, whose grants need not exist (XSA-448). Linux's gntdev copies nothing for an empty segment, and does not
 * look at its grant; mapping such a grant would fail.
 */
function emptyTest(world: World, move: (batch: GrantBatch) => void): void {
  const { shared, refs, arena, batch } = granted(world, 2, 'write', 9);
  paint(shared.bytes, 51);
  const [dead, alive] = refs as [number, number];
  const end = arena.bytes.length;
  expect(shared.end(dead)).toBe(true);
  fill(batch, [
    { ref: dead, length: 0, arena: 0 },
    { ref: 0, length: 0, arena: 16 },
    { ref: 0xffff_ffff, length: 0, arena: end },
    { ref: dead, offset: 4096, length: 0, arena: 32 },
    { ref: alive, length: 0, arena: 48 },
    { ref: alive, offset: 8, length: 64, arena: 64, head: 64 },
    // The batch checks their places all the same.
    { ref: alive, offset: 4097, length: 0, arena: 0 },
    { ref: alive, length: 0, arena: end + 1 },
    { ref: dead, length: 1, arena: 0, head: 1 },
  ]);
  move(batch);
  const found = statuses(batch);
  expect(found.slice(0, 8)).toEqual([0, 0, 0, 0, 0, 0, GNTST_bad_copy_arg, GNTST_bad_copy_arg]);
  expect(found[8]).toBeLessThan(0);
  expect(batch.ops[OPS_FAILED]).toBe(3);
  expect(slice(arena.bytes, 64, 64)).toEqual(slice(shared.bytes, PAGE_SIZE + 8, 64));
  // A grant that only empty operations name is not mapped.
  fill(batch, [{ ref: alive, length: 0, arena: 0 }]);
  move(batch);
  expect([statuses(batch), batch.ops[OPS_FAILED]]).toEqual([[0], 0]);
  expect(shared.end(alive)).toBe(true);
  batch[Symbol.dispose]();
}

export function copyTests(world: World): void {
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

  test('has a status of its own for a domain that is not there', () => {
    const { refs } = granted(world, 1, 'read');
    const arena = world.backend.grants.arena(PAGE_SIZE);
    using batch = world.backend.grants.batch({ domid: 9, capacity: 1, arena });
    fill(batch, [{ ref: refs[0]!, length: 100, arena: 0 }]);
    batch.copyFromGuest();
    expect(statuses(batch)).toEqual([GNTST_bad_domain]);
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

  test('uses no grant for an operation without bytes', () => {
    emptyTest(world, (batch) => batch.copyFromGuest());
    emptyTest(world, (batch) => batch.copyToGuest());
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

export function mapBatchTests(world: World): void {
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

  test('maps nothing for an operation without bytes', () => {
    emptyTest(world, (batch) => batch.mapFromGuest());
    emptyTest(world, (batch) => batch.mapToGuest());
  });

  test('moves the heads of operations that follow each other', () => {
    const { shared, refs, arena, batch } = granted(world, 3, 'read');
    paint(shared.bytes, 61);
    fill(batch, [
      { ref: refs[2]!, offset: 7, length: 14, arena: 50, head: 14 },
      { ref: refs[0]!, offset: 4095, length: 1, arena: 64, head: 1 },
      { ref: refs[1]!, offset: 300, length: 900, arena: 65, head: 49 },
    ]);
    batch.mapFromGuest();
    expect(statuses(batch)).toEqual([0, 0, 0]);
    expect(slice(arena.bytes, 50, 64)).toEqual([
      ...slice(shared.bytes, 2 * PAGE_SIZE + 7, 14),
      ...slice(shared.bytes, 4095, 1),
      ...slice(shared.bytes, PAGE_SIZE + 300, 49),
    ]);
    expect(arena.bytes[50 + 64]).toBe(0);
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
