import assert from 'node:assert/strict';
import { Guest, reboot } from '../drive/guest.js';
import { must, until } from '../drive/process.js';
import { iperf, ping, serve } from '../drive/traffic.js';
import { xl } from '../drive/xl.js';
import { type Dom0, inBothModes, type Test } from './harness.js';
import { assertNothingLeft, heldBy } from './leftovers.js';

/** Item 1 of the list: the standard toolstack, with no driver in the kernel. */
export const lifeTests: Test[] = inBothModes([
  {
    name: 'xl create: the tap is bridged, the guest has its network',
    boot: 'alone',
    core: true,
    run: create,
  },
  { name: 'xl network-attach and network-detach', boot: 'alone', run: attachAndDetach },
  { name: 'the guest reboots', boot: 'alone', core: true, run: rebootGuest },
  { name: 'the guest shuts down: nothing is left', boot: 'alone', run: shutdown },
  { name: 'xl destroy under load: nothing is left', boot: 'alone', run: destroy },
  { name: 'xl destroy while vifd is away: the next life cleans up', boot: 'alone', run: destroyWhileAway },
]);

async function create(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  const link = await must('ip', '-d', 'link', 'show', 'dev', guest.vif);
  assert.match(link, /master xenbr0/, 'the tap is not in the bridge');
  await until(
    'the backend is Connected',
    async () => (await dom0.store.read(`${guest.backendPath}/state`)) === '4',
  );
  await ping(guest);
  await serve(guest);
  const rates = { to: await iperf(guest, 5, 'to'), from: await iperf(guest, 5, 'from') };
  dom0.note(`TCP to the guest ${rates.to.toFixed(0)}, from it ${rates.from.toFixed(0)} Mbit/s`);
  assert.deepEqual(dom0.vifd.errors(), []);
}

async function attachAndDetach(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  const before = await heldBy(dom0, guest.domid);
  await xl('network-attach', guest.name, 'bridge=xenbr0');
  await guest.exec('for i in $(seq 50); do [ -e /sys/class/net/eth1 ] && break; sleep 0.2; done');
  await guest.exec('/bin/ip link set eth0 down; /bin/ip addr flush dev eth0');
  await guest.exec(`/bin/ip link set eth1 up && /bin/ip addr add ${guest.address}/24 dev eth1`);
  await must('ip', 'neigh', 'flush', 'dev', 'xenbr0');
  await ping(guest);
  await xl('network-detach', guest.name, '1');
  await until(
    'the guest has lost eth1',
    async () => (await guest.exec('ls /sys/class/net')).includes('eth1') === false,
  );
  await until('vifd has detached it', () => detached(dom0, `vif${guest.domid}.1`));
  assert.deepEqual(await heldBy(dom0, guest.domid), before);
  await guest.exec(`/bin/ip link set eth0 up && /bin/ip addr add ${guest.address}/24 dev eth0`);
  await must('ip', 'neigh', 'flush', 'dev', 'xenbr0');
  await ping(guest);
  assert.deepEqual(dom0.vifd.errors(), []);
}

async function rebootGuest(dom0: Dom0): Promise<void> {
  const before = await dom0.guest();
  const after = await reboot(before);
  await ping(after);
  await assertNothingLeft(dom0, before.domid);
  assert.deepEqual(dom0.vifd.errors(), []);
}

async function shutdown(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await guest.tell('poweroff -f');
  await until('the guest is gone', async () => (await Guest.find(guest.name)) === undefined);
  await assertNothingLeft(dom0, guest.domid);
  await until('vifd has forgotten it', () => detached(dom0, guest.vif));
  assert.deepEqual(dom0.vifd.errors(), []);
}

async function destroy(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await serve(guest);
  // xl ends with an error here, as it must.
  const load = iperf(guest, 60, 'to').catch(() => undefined);
  await ping(guest);
  await xl('destroy', guest.name);
  await assertNothingLeft(dom0, guest.domid);
  await until('vifd has forgotten it', () => detached(dom0, guest.vif));
  assert.deepEqual(dom0.vifd.errors(), []);
  await must('pkill', '-x', 'iperf3');
  await load;
}

/** No backend runs, so libxl waits for its timeout of 10 s. The next vifd must then delete the destroyed guest's tap. */
async function destroyWhileAway(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await dom0.vifd.stop('SIGKILL');
  await must('xl', 'destroy', guest.name);
  await dom0.vifd.start();
  await assertNothingLeft(dom0, guest.domid);
}

function detached(dom0: Dom0, vif: string): boolean {
  return dom0.vifd.events.some((told) => told.event === 'detached' && told.vif === vif);
}
