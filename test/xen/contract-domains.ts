/** The contract of domainExists. */
import { expect, test } from 'vitest';
import type { World } from './contract-world.js';

export function domainTests(world: World): void {
  test('dom0 knows which domains there are', () => {
    const exists = [0, world.frontend.domid, 9, 0x7fef].map((domid) => world.backend.domainExists?.(domid));
    expect(exists).toEqual([true, true, false, false]);
  });

  test('a closed handle does not know which domains there are', async () => {
    await world.backend[Symbol.asyncDispose]();
    expect(world.backend.domainExists?.(0)).toBeUndefined();
  });

  test('another domain does not know which domains there are', () => {
    expect(world.frontend.domainExists?.(0)).toBeUndefined();
    expect(world.frontend.domainExists?.(9)).toBeUndefined();
  });
}
