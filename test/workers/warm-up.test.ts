import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ModelXen } from '../../lib/testing/model/index.js';
import { rehearse } from '../../lib/testing/rehearsal.js';
import { type Rehearsal, warmUp } from '../../lib/workers/warm-up.js';

const PAYLOADS = ['copy', 'map'] as const;
const always = { isNeeded: () => false };
const isBuilt = ['vifd.cjs', 'rehearsal.bundle'].every((file) => existsSync(`dist/${file}`));

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** A rehearsal that takes so much of the processor in each turn. */
const costing = (ms: number): Rehearsal => ({
  async rehearse({ goesOn }) {
    let turns = 0;
    for (; await goesOn(); turns++) {
      const end = cpuMs() + ms;
      while (cpuMs() < end);
    }
    return turns;
  },
});

describe('the warm-up of a worker', () => {
  it.each(PAYLOADS)('serves a modelled guest ten times, with payload %s', async (payload) => {
    const { turns, cpuMs: used } = await warmUp({ rehearsal: { rehearse }, payload, ...always });
    expect(turns).toBe(10);
    expect(used).toBeGreaterThan(0);
  });

  it('resumes a connected guest from the second time on, and leaves nothing behind', async () => {
    const [left, states]: [string[], unknown[]] = [[], []];
    const seen: Rehearsal = {
      rehearse: (parts) =>
        rehearse({
          ...parts,
          serve: async (vif, xen, port) => {
            states.push(await xen.store.read(`${vif.path}/state`));
            const detach = await parts.serve(vif, xen, port);
            return async () => {
              await detach();
              left.push(...(xen as ModelXen).leaks());
            };
          },
        }),
    };
    const before = process.getActiveResourcesInfo().length;
    await warmUp({ rehearsal: seen, payload: 'copy', ...always });
    expect(states).toEqual(['1', ...Array(9).fill('4')]);
    expect(left).toEqual([]);
    await expect.poll(() => process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before);
  });

  it.each([0, 3])('ends when guests need the process: after %i turns', async (needed) => {
    let asked = 0;
    const isNeeded = () => asked++ >= needed;
    const { turns } = await warmUp({ rehearsal: { rehearse }, payload: 'copy', isNeeded });
    expect(turns).toBe(needed);
  });

  it('ends when it has used up its share of the processor', async () => {
    const { turns } = await warmUp({ rehearsal: costing(400), payload: 'copy', ...always });
    expect(turns).toBe(2);
  });

  it('lets other work of the process run between two turns', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await warmUp({ rehearsal: costing(0), payload: 'copy', ...always });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
  });

  it('fails with the reason when the guest is not served', async () => {
    const unserved: Rehearsal = {
      rehearse: (parts) =>
        rehearse({
          ...parts,
          serve: (vif, xen, port) => {
            xen.grants.map = () => {
              throw new Error('no grants today');
            };
            return parts.serve(vif, xen, port);
          },
        }),
    };
    await expect(warmUp({ rehearsal: unserved, payload: 'copy', ...always })).rejects.toThrow(
      /no grants today/,
    );
  });

  it.skipIf(!isBuilt)('works with the bundle, in which the model has classes of its own', async () => {
    const { open } = createRequire(import.meta.url)(resolve('dist/vifd.cjs'));
    const rehearsal: Rehearsal = open('rehearsal').load();
    const { turns } = await warmUp({ rehearsal, payload: 'copy', ...always });
    expect(turns).toBe(10);
  });
});
