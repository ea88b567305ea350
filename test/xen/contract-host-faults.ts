/** The effect of a lack of resources of the host on calls: it is no guest's fault, and vifd retries. */
import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { OPS_ERRNO, OPS_FAILED, PAGE_SIZE } from '../../lib/xen/seam.js';
import { fill, granted, paint, slice, statuses, type World } from './contract-world.js';

const { ENOMEM, ENOSPC } = constants.errno;
const hostError = (errno: string) => expect.objectContaining({ code: 'ERR_HOST', errno });

export function hostFaultTests(world: World): void {
  test('distinguishes a copy that failed as a whole from operations that failed', () => {
    const { shared, refs, arena, batch } = granted(world, 2, 'read');
    paint(shared.bytes, 1);
    fill(batch, [
      { ref: refs[0]!, length: 64, arena: 0 },
      { ref: refs[1]! + 1000, length: 64, arena: 64 },
    ]);
    world.fail('copy', 'ENOMEM');
    batch.copyFromGuest();
    expect(batch.ops[OPS_ERRNO]).toBe(ENOMEM);
    expect(batch.ops[OPS_FAILED]).not.toBe(0);
    world.heal();
    batch.copyFromGuest();
    expect([batch.ops[OPS_ERRNO], batch.ops[OPS_FAILED]]).toEqual([0, 1]);
    const [good, bad] = statuses(batch);
    expect(good).toBe(0);
    expect(bad).toBeLessThan(0);
    expect(slice(arena.bytes, 0, 64)).toEqual(slice(shared.bytes, 0, 64));
    batch[Symbol.dispose]();
  });

  test('distinguishes a map that failed as a whole from references that are bad, and leaves nothing mapped', () => {
    const { shared, refs, batch } = granted(world, 3, 'write');
    fill(
      batch,
      refs.map((ref, i) => ({ ref, length: 64, arena: i * PAGE_SIZE, head: 64 })),
    );
    for (const method of ['mapFromGuest', 'mapToGuest'] as const) {
      world.fail('map', 'ENOSPC');
      batch[method]();
      expect(batch.ops[OPS_ERRNO]).toBe(ENOSPC);
      expect(batch.ops[OPS_FAILED]).not.toBe(0);
      world.heal();
      batch[method]();
      expect([batch.ops[OPS_ERRNO], batch.ops[OPS_FAILED]]).toEqual([0, 0]);
      batch.unmap();
    }
    world.fail('map', 'ENOMEM');
    batch.mapFromGuest();
    expect(refs.map((ref) => shared.end(ref))).toEqual([true, true, true]);
    world.heal();
    batch[Symbol.dispose]();
  });

  test('unmaps a batch when the host can again', () => {
    const { shared, refs, batch } = granted(world, 1, 'read');
    fill(batch, [{ ref: refs[0]!, length: 64, arena: 0, head: 64 }]);
    batch.mapFromGuest();
    world.fail('unmap', 'ENOMEM');
    batch.unmap();
    expect(batch.ops[OPS_ERRNO]).toBe(ENOMEM);
    expect(shared.end(refs[0]!)).toBe(false);
    world.heal();
    batch.unmap();
    expect(batch.ops[OPS_ERRNO]).toBe(0);
    expect(shared.end(refs[0]!)).toBe(true);
    batch[Symbol.dispose]();
  });

  test('throws ERR_HOST for pages that the host cannot map, and ERR_XEN_GRANT for such as are not granted', () => {
    const shared = world.allocate(1);
    const ref = shared.grant(0, world.backend.domid, 'write');
    const { grants } = world.backend;
    world.fail('map', 'ENOMEM');
    expect(() => grants.map(world.frontend.domid, [ref], 'write')).toThrow(hostError('ENOMEM'));
    expect(() => grants.map(world.frontend.domid, [ref + 1000], 'write')).toThrow(hostError('ENOMEM'));
    world.heal();
    expect(() => grants.map(world.frontend.domid, [ref + 1000], 'write')).toThrow(
      expect.objectContaining({ code: 'ERR_XEN_GRANT' }),
    );
    grants.map(world.frontend.domid, [ref], 'write').unmap();
  });

  test('throws ERR_HOST for a channel that the host cannot bind, and leaves it to be bound', () => {
    const port = world.frontend.events.bindUnbound(world.backend.domid, () => {});
    const bind = () => world.backend.events.bind(world.frontend.domid, port.port, () => {});
    world.fail('bind', 'ENOSPC');
    expect(bind).toThrow(hostError('ENOSPC'));
    world.heal();
    bind().close();
    port.close();
  });

  test('throws ERR_HOST for staged grants, and changes nothing', () => {
    const { shared, refs, batch } = granted(world, 2, 'write');
    const staged = world.backend.grants.staged(world.frontend.domid);
    world.fail('map', 'ENOMEM');
    expect(() => staged.add(refs, 'write')).toThrow(hostError('ENOMEM'));
    expect(staged.size).toBe(0);
    world.heal();
    expect(staged.add([refs[0]! + 1000], 'write')).toBe(false);
    expect(staged.add(refs, 'write')).toBe(true);
    world.fail('unmap', 'ENOMEM');
    expect(() => staged.remove(refs)).toThrow(hostError('ENOMEM'));
    expect(shared.end(refs[0]!)).toBe(false);
    world.heal();
    staged.remove(refs);
    expect(staged.size).toBe(0);
    expect(refs.map((ref) => shared.end(ref))).toEqual([true, true]);
    staged[Symbol.dispose]();
    batch[Symbol.dispose]();
  });
}
