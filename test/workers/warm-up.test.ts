import { closeSync, existsSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { rehearse } from '../../lib/testing/rehearsal.js';
import { type Rehearsal, warmUp } from '../../lib/workers/warm-up.js';
import type { LastingEvents, StoredEvents } from '../../lib/xen/seam.js';
import { openCount } from '../host/descriptors.js';
import { whyNoAddon } from '../native/reason.js';

const PAYLOADS = ['copy', 'map'] as const;
/** This process's own hypervisor. */
const own = new ModelHypervisor({ autorun: true });
const xen = own.open(0);
const always = { xen, isNeeded: () => false };
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

describe.skipIf(whyNoAddon())('the warm-up of a worker', () => {
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
    const open = openCount();
    await warmUp({ rehearsal: seen, payload: 'copy', ...always });
    expect(states).toEqual(['1', ...Array(9).fill('4')]);
    expect(left).toEqual([]);
    await expect.poll(() => process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before);
    expect(xen.leaks()).toEqual([]);
    expect(openCount()).toBe(open);
  });

  it.each([0, 3])('ends when guests need the process: after %i turns', async (needed) => {
    let asked = 0;
    const isNeeded = () => asked++ >= needed;
    const { turns } = await warmUp({ rehearsal: { rehearse }, payload: 'copy', xen, isNeeded });
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

  it('takes the vif over as from a process that died, with the real store and handles of event channels', async () => {
    const asked = vi.spyOn(xen.store, 'readAll');
    const [attached, handles]: [string[], (number | undefined)[]] = [[], []];
    const openLastingEvents = (stored?: StoredEvents): LastingEvents => {
      handles.push(stored?.ports.length);
      const descriptor = openSync('/dev/zero', 'r');
      const bind = () => {
        throw new Error('nothing is bound there');
      };
      return {
        ...{ bind, bindUnbound: bind, stored: { descriptor, ports: [] } },
        [Symbol.dispose]: () => closeSync(descriptor),
      };
    };
    const seen: Rehearsal = {
      rehearse: (parts) =>
        rehearse({
          ...parts,
          serve: async (vif, model, port) => {
            const detach = await parts.serve(vif, model, port);
            attached.push(`${await model.store.read(`${vif.path}/state`)}`);
            return detach;
          },
        }),
    };
    const open = openCount();
    await warmUp({
      rehearsal: seen,
      payload: 'copy',
      xen: { store: xen.store, openLastingEvents },
      isNeeded: () => attached.length === 3,
    });
    expect(attached).toEqual(['2', '4', '4']);
    // From the second turn on, the handle of the turn before is passed on, without its ports.
    expect(handles).toEqual([undefined, 0, 0]);
    expect(asked.mock.calls.flat(2)).toContain('/local/domain/7/device/vif/0/tx-ring-ref');
    expect(openCount()).toBe(open);
  });

  it.skipIf(!isBuilt)('works with the bundle, in which the model has classes of its own', async () => {
    const { open } = createRequire(import.meta.url)(resolve('dist/vifd.cjs'));
    const rehearsal: Rehearsal = open('rehearsal').load();
    const { turns } = await warmUp({ rehearsal, payload: 'copy', ...always });
    expect(turns).toBe(10);
  });
});
