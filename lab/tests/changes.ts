import assert from 'node:assert/strict';
import type { Guest } from '../drive/guest.js';
import { must, until } from '../drive/process.js';
import { IperfLoop, ping, Session, serve } from '../drive/traffic.js';
import { type Health, healthOf } from '../drive/witness.js';
import type { Dom0, Test } from './harness.js';
import { xdpPassObject } from './xdp.js';

/** Changes that a connected guest makes while frames move; vifd is killed in the middle of each. */
export const changeTests: Test[] = [
  {
    name: 'a guest switches its offloads off and on under load, with kills',
    boot: 'alone',
    run: (dom0) => underLoad(dom0, offloads),
  },
  {
    name: 'a guest changes its MTU under load, with kills',
    boot: 'alone',
    run: (dom0) => underLoad(dom0, mtu),
  },
  {
    name: 'neighbours of IPv6 are found by multicast, before and after a kill',
    boot: 'alone',
    run: (dom0) => underLoad(dom0, neighbourDiscovery),
  },
  {
    name: 'a guest attaches and detaches an XDP program under load, with kills',
    boot: 'alone',
    run: (dom0) => underLoad(dom0, xdp),
  },
];

/** A tap's queue, and a batch that was read. */
const ON_THEIR_WAY_MAX = 1000 + 128;

type Kill = () => Promise<void>;

/** @param change calls `kill` to kill vifd and to wait until the next process serves, and returns how many errors the guest itself causes. */
async function underLoad(dom0: Dom0, change: (guest: Guest, kill: Kill) => Promise<number>): Promise<void> {
  const guest = await dom0.guest();
  const { vifd } = dom0;
  await serve(guest);
  await ping(guest);
  const before = errorsIn(await healthOf(guest));
  using session = await Session.open(guest);
  using load = new IperfLoop(guest, 6);
  const excused = await change(guest, async () => {
    await vifd.replace();
  });
  await ping(guest);
  await load.end();
  await session.end();
  const after = await healthOf(guest);
  const counted = errorsIn(after) - before;
  assert.ok(
    counted <= excused,
    `the guest counted ${counted} errors, ${excused} of them by its own doing: ${after.errors}`,
  );
  assert.doesNotMatch(after.dmesg, /netfront.*(error|broken|timeout)|Bad|still in use/i);
  assert.deepEqual(vifd.errors(), []);
}

function errorsIn({ errors }: Health): number {
  return [...errors.matchAll(/\d+$/gm)].reduce((sum, [count]) => sum + Number(count), 0);
}

async function offloads(guest: Guest, kill: Kill): Promise<number> {
  for (const state of ['off', 'on']) {
    await guest.exec(`ethtool -K eth0 tso ${state} gso ${state} gro ${state} tx ${state} sg ${state}`);
    await kill();
    await ping(guest);
  }
  return 0;
}

async function mtu(guest: Guest, kill: Kill): Promise<number> {
  for (const bytes of [1280, 1500]) {
    await guest.exec(`ip link set eth0 mtu ${bytes}`);
    await kill();
    // The longest ping to which the guest replies without fragments.
    await must('ping', '-c', '3', '-w', '20', '-s', `${bytes - 28}`, guest.address);
  }
  return 0;
}

async function neighbourDiscovery(guest: Guest, kill: Kill): Promise<number> {
  const address = `fd78::${guest.address.split('.')[3]}`;
  await guest.exec(`/bin/ip addr replace ${address}/64 dev eth0 nodad`);
  await must('ip', 'addr', 'replace', 'fd78::1/64', 'dev', 'xenbr0', 'nodad');
  const find = async (): Promise<void> => {
    await must('ip', '-6', 'neigh', 'flush', 'dev', 'xenbr0');
    await guest.exec('/bin/ip -6 neigh flush dev eth0');
    await must('ping', '-c', '2', '-w', '20', address);
  };
  await find();
  await kill();
  await find();
  return 0;
}

/** Linux's netfront asks for headroom, writes Reconfiguring and waits for our Reconfigured: `ip` fails if that does not come. */
async function xdp(guest: Guest, kill: Kill): Promise<number> {
  const before = errorsIn(await healthOf(guest));
  const program = '/tmp/pass.o';
  await guest.exec(`echo ${xdpPassObject().toString('base64')} | base64 -d >${program}`);
  const headroom = async () => (await must('xenstore-read', `${frontendOf(guest)}/xdp-headroom`)).trim();
  // While a program is attached, netfront drops frames of several slots and counts errors (xen-netfront.c,
  // xennet_get_responses), from any sender: they must come segmented.
  await must('ethtool', '-K', guest.vif, 'tso', 'off', 'gso', 'off');
  await guest.exec(`/bin/ip link set dev eth0 xdp object ${program} section xdp`);
  assert.match(await guest.exec('/bin/ip link show eth0'), /prog\/xdp/);
  assert.equal(await headroom(), '256');
  // Once this reply has come, no frame is on its way that was sent whole before the program was loaded.
  await ping(guest);
  const dropped = errorsIn(await healthOf(guest)) - before;
  assert.ok(dropped <= ON_THEIR_WAY_MAX, `the guest dropped ${dropped} frames as its program came`);
  await kill();
  await ping(guest);
  await guest.exec('/bin/ip link set dev eth0 xdp off');
  assert.equal(await headroom(), '0');
  await kill();
  await must('ethtool', '-K', guest.vif, 'tso', 'on', 'gso', 'on');
  await until('both ends are Connected', async () => (await statesOf(guest)).every((state) => state === '4'));
  return dropped;
}

function frontendOf({ domid }: Guest): string {
  return `/local/domain/${domid}/device/vif/0`;
}

function statesOf(guest: Guest): Promise<string[]> {
  return Promise.all(
    [guest.backendPath, frontendOf(guest)].map(async (path) =>
      (await must('xenstore-read', `${path}/state`)).trim(),
    ),
  );
}
