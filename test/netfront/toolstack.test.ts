import { describe, expect, test } from 'vitest';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { createVif, removeVif } from '../../lib/testing/netfront/index.js';

const GUEST = 7;
const FRONTEND = '/local/domain/7/device/vif/2';
const BACKEND = '/local/domain/0/backend/vif/7/2';

async function tree(xen: ModelXen, path: string): Promise<Record<string, string | undefined>> {
  const names = await xen.store.list(path);
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await xen.store.read(`${path}/${name}`)] as const)),
  );
}

describe('what the toolstack writes', () => {
  test('a vif has the keys that libxl gives it, on both sides', async () => {
    const hypervisor = new ModelHypervisor({ autorun: true });
    const dom0 = hypervisor.open(0);
    hypervisor.open(GUEST);
    const options = { domid: GUEST, handle: 2, mac: '00:16:3e:00:00:01', bridge: 'xenbr0', mtu: 9000 };
    expect(await createVif(dom0.store, options)).toEqual({ frontendPath: FRONTEND, backendPath: BACKEND });
    expect(await tree(dom0, FRONTEND)).toEqual({
      backend: BACKEND,
      'backend-id': '0',
      state: '1',
      handle: '2',
      mac: '00:16:3e:00:00:01',
      mtu: '9000',
      trusted: '1',
    });
    expect(await tree(dom0, BACKEND)).toEqual({
      frontend: FRONTEND,
      'frontend-id': '7',
      online: '1',
      state: '1',
      handle: '2',
      mac: '00:16:3e:00:00:01',
      type: 'vif',
      bridge: 'xenbr0',
      mtu: '9000',
    });
  });

  test('each side owns its own directory, and may read the other', async () => {
    const hypervisor = new ModelHypervisor({ autorun: true });
    const dom0 = hypervisor.open(0);
    const guest = hypervisor.open(GUEST);
    await createVif(dom0.store, { domid: GUEST, handle: 2, mac: '00:16:3e:00:00:01', script: 'vif-bridge' });
    expect(await dom0.store.getPermissions(FRONTEND)).toEqual([
      { domid: 7, access: 'none' },
      { domid: 0, access: 'read' },
    ]);
    expect(await dom0.store.getPermissions(`${BACKEND}/state`)).toEqual([
      { domid: 0, access: 'none' },
      { domid: 7, access: 'read' },
    ]);
    await guest.store.write(`${FRONTEND}/state`, '4');
    expect(await guest.store.read(`${BACKEND}/hotplug-status`)).toBe('');
    await expect(guest.store.write(`${BACKEND}/state`, '4')).rejects.toMatchObject({ code: 'ERR_STORE' });
    await expect(guest.store.write(`${FRONTEND}/mtu`, '1')).rejects.toMatchObject({ code: 'ERR_STORE' });
  });

  test('removal asks the backend to close, waits, and leaves nothing', async () => {
    const hypervisor = new ModelHypervisor();
    const dom0 = hypervisor.open(0);
    const toolstack = hypervisor.open(0);
    await createVif(toolstack.store, { domid: GUEST, handle: 2, mac: '00:16:3e:00:00:01' });
    const removed = removeVif(toolstack.store, toolstack.clock, { domid: GUEST, handle: 2 });
    await hypervisor.settle();
    expect(await tree(dom0, BACKEND)).toMatchObject({ online: '0', state: '5' });
    await dom0.store.write(`${BACKEND}/state`, '6');
    await hypervisor.settle();
    expect(await removed).toBe(true);
    expect(await dom0.store.list('/local/domain/0/backend/vif/7')).toEqual([]);
    expect(await dom0.store.list('/local/domain/7/device/vif')).toEqual([]);
  });

  test('removal gives up after twice ten seconds, and removes all the same', async () => {
    const hypervisor = new ModelHypervisor();
    const dom0 = hypervisor.open(0);
    await createVif(dom0.store, { domid: GUEST, handle: 2, mac: '00:16:3e:00:00:01' });
    const removed = removeVif(dom0.store, dom0.clock, { domid: GUEST, handle: 2 });
    await hypervisor.advance(10_000);
    expect(await dom0.store.list('/local/domain/7/device/vif')).toEqual([]);
    expect(await tree(dom0, BACKEND)).toMatchObject({ online: '0', state: '5' });
    await hypervisor.advance(10_000);
    expect(await removed).toBe(false);
    expect(await dom0.store.list('/local/domain/0/backend/vif')).toEqual([]);
  });
});
