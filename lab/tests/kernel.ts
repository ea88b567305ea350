import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { holdDriverBack } from '../drive/driver.js';
import { Guest } from '../drive/guest.js';
import { must, run, sleep } from '../drive/process.js';
import { ping } from '../drive/traffic.js';
import type { Dom0, Test } from './harness.js';
import { restarts } from './restart.js';
import { trial } from './trial.js';

/** Item 4: the kernel's driver and vifd in the same test, and side by side. */
export const kernelTests: Test[] = [
  { name: 'vifd leaves alone what xen-netback serves', boot: 'beside', core: true, run: leavesAlone },
  { name: "xen-netback's own unbind and bind under the same load", boot: 'beside', run: rebinds },
  { name: 'vifd and xen-netback serve side by side', boot: 'beside', run: sideBySide },
  {
    name: 'in the same boot: stops, kills and updates of vifd',
    boot: 'beside',
    run: async (dom0) => {
      // If this test runs alone (--only, --again), no earlier one has called this.
      await holdDriverBack();
      await restarts(dom0, 'g2', 1);
    },
  },
];

async function leavesAlone(dom0: Dom0): Promise<void> {
  const guest = await Guest.running('g1');
  await ping(guest);
  const nodes = () => must('xenstore-ls', '-f', guest.backendPath);
  const before = await nodes();
  await dom0.vifd.start();
  // The kernel also serves a vif that is created while vifd runs.
  await must('xl', 'network-attach', guest.name, 'bridge=xenbr0');
  assert.ok(
    existsSync(`/sys/bus/xen-backend/devices/vif-${guest.domid}-1/driver`),
    'the kernel did not take it',
  );
  await must('xl', 'network-detach', guest.name, '1');
  await sleep(1000);
  assert.equal(await nodes(), before);
  await ping(guest);
  assert.deepEqual(dom0.vifd.errors(), []);
  assert.deepEqual(
    dom0.vifd.events.filter(({ event }) => event === 'attached'),
    [],
  );
  await dom0.vifd.stop('SIGTERM');
}

/** As in the patch's own test: unbind, unload, load, bind, bridge. The driver's state falls back to InitWait. */
async function rebinds(dom0: Dom0): Promise<void> {
  const guest = await Guest.running('g1');
  const rebind = async (): Promise<void> => {
    await must('guest', 'unbind', guest.name);
    await run('rmmod', 'xen-netback');
    await must('guest', 'bind', guest.name);
  };
  await trial(
    dom0,
    guest,
    1,
    [{ name: 'xen-netback unbound, unloaded, loaded, bound', run: rebind }],
    ['backend 4', 'backend 2', 'frontend 4'],
  );
}

async function sideBySide(dom0: Dom0): Promise<void> {
  // The guest that xen-netback serves starts first: if this test runs alone (--only), no earlier one has started a guest.
  const kernels = await Guest.running('g1');
  await holdDriverBack();
  const ours = await dom0.guest('g2');
  await ping(kernels);
  await ping(ours);
  // From one guest to the other, over the bridge.
  await kernels.exec(`ping -c 3 ${ours.address}`);
  assert.deepEqual(dom0.vifd.errors(), []);
}
