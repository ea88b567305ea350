import assert from 'node:assert/strict';
import { exchangeDuring } from '../drive/echo.js';
import type { Guest } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { ping, serve } from '../drive/traffic.js';
import { healthOf } from '../drive/witness.js';
import { xl } from '../drive/xl.js';
import type { Dom0, Test } from './harness.js';
import { heldBy } from './leftovers.js';

/** Operations of the toolstack on a guest whose connections must survive them. */
export const toolstackTests: Test[] = [
  {
    name: 'xl pause, a kill and xl unpause under TCP: no reset, each byte as it was sent',
    boot: 'alone',
    run: paused,
  },
  {
    name: 'a second vif comes, goes and comes again at once, over kills, and the first one has TCP: no reset',
    boot: 'alone',
    seconds: 200,
    run: secondVif,
  },
];

const PAUSE_MS = 2000;
/** dom0's address for the second vif, in a network of its own on the same bridge. */
const ENDPOINT = '10.77.1.1/24';
const ROUNDS = 4;

async function paused(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await underTcp(dom0, guest, async () => {
    for (const then of [async () => {}, () => dom0.vifd.replace()]) {
      await xl('pause', guest.name);
      await sleep(PAUSE_MS);
      await then();
      await sleep(PAUSE_MS);
      await xl('unpause', guest.name);
      await ping(guest);
      await sleep(3000);
    }
  });
}

/** Attaches and detaches a second vif. libxl gives the new vif the number of the old one, and does not wait between the two. */
async function secondVif(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  const vif = `vif${guest.domid}.1`;
  const peer = { address: `10.77.1.${guest.address.split('.').at(-1)}` };
  const before = await heldBy(dom0, guest.domid);
  await must('ip', 'addr', 'replace', ENDPOINT, 'dev', 'xenbr0');
  await underTcp(dom0, guest, async () => {
    await xl('network-attach', guest.name, 'bridge=xenbr0');
    for (let round = 0; round < ROUNDS; round++) {
      await until('the guest has eth1', async () => (await guest.exec('ls /sys/class/net')).includes('eth1'));
      await guest.exec(`/bin/ip addr add ${peer.address}/24 dev eth1; /bin/ip link set eth1 up`);
      await ping(peer);
      // In every other round a kill leaves the vif unserved before, or in the middle of, its removal.
      const killing = round % 2 === 1 ? dom0.vifd.replace() : undefined;
      await run('xl', 'network-detach', guest.name, '1');
      if (round < ROUNDS - 1) await must('xl', 'network-attach', guest.name, 'bridge=xenbr0');
      await killing;
      const stateOf = () => dom0.store.read(`/local/domain/0/backend/vif/${guest.domid}/1/state`);
      if (round < ROUNDS - 1) await until(`${vif} is Connected`, async () => (await stateOf()) === '4');
    }
  });
  await until(
    'the guest has lost eth1',
    async () => !(await guest.exec('ls /sys/class/net')).includes('eth1'),
  );
  const isAsBefore = async () => JSON.stringify(await heldBy(dom0, guest.domid)) === JSON.stringify(before);
  await until('what vifd holds of the guest is as before', isAsBefore, 20_000).catch(async () =>
    assert.deepEqual(await heldBy(dom0, guest.domid), before),
  );
  await must('ip', 'addr', 'del', ENDPOINT, 'dev', 'xenbr0');
}

/** Runs `then` under TCP to eth0. The guest must not notice. */
async function underTcp(dom0: Dom0, guest: Guest, then: () => Promise<void>): Promise<void> {
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  await exchangeDuring([guest.address], (text) => dom0.note(text), then);
  const after = await healthOf(guest);
  assert.deepEqual({ ...after, dmesg: '' }, { ...before, dmesg: '' }, 'the guest noticed');
  assert.doesNotMatch(after.dmesg, /netfront.*(error|broken|timeout)|still in use/i);
  assert.deepEqual(dom0.vifd.errors(), []);
}
