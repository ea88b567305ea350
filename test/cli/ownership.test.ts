import { expect, it } from 'vitest';
import { Ownership } from '../../lib/daemon/ownership.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';

const NODE = '/local/domain/0/backend/vif/7/0';

it('a node that was removed and made again while its vif is served is noted as vifd’s once more', async () => {
  const hypervisor = new ModelHypervisor();
  const { store } = hypervisor.open(0);
  const settled = async <T>(work: Promise<T>): Promise<T> => {
    await hypervisor.settle();
    return work;
  };
  const owner = () => settled(store.read(`${NODE}/vifd/owner`));
  const ownership = new Ownership({
    store,
    domid: 0,
    kernel: undefined,
    findTap: () => undefined,
    openTap: () => {
      throw new Error('no tap is opened here');
    },
  });
  const vif = { id: 'vif7.0', domid: 7, handle: 0 } as const;
  const make = () => settled(store.write(`${NODE}/frontend`, '/local/domain/7/device/vif/0'));
  await make();
  expect(await settled(ownership.accept(vif, false))).toBe(true);
  expect(await owner()).toBe('vifd');
  await settled(store.rm(NODE));
  expect(await settled(ownership.accept(vif, true))).toBe(true);
  // vifd does not create a removed key again.
  expect(await owner()).toBeUndefined();
  await make();
  expect(await settled(ownership.accept(vif, true))).toBe(true);
  expect(await owner()).toBe('vifd');
});
