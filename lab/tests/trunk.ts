import assert from 'node:assert/strict';
import { exchangeDuring } from '../drive/echo.js';
import type { Guest } from '../drive/guest.js';
import { must } from '../drive/process.js';
import { iperf, ping, serve } from '../drive/traffic.js';
import { Trunk } from '../drive/trunk.js';
import { healthOf } from '../drive/witness.js';
import { type Dom0, inBothModes, type Test } from './harness.js';

/**
 * TCP over VLAN tags. netif cannot express where a checksum is, and Linux's netfront does not find it behind a tag: it drops a tagged frame
 * with a partial checksum, and counts an error. The kernel gives such frames to a tap with offloads.
 */
export const trunkTests: Test[] = inBothModes([
  {
    name: 'a VLAN trunk, with no tag, one and two, offloads on and off: TCP both ways over kills, each byte as it was sent',
    boot: 'alone',
    seconds: 180,
    run: trunk,
  },
]);

const IPERF_S = 3;

async function trunk(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  const { vifd } = dom0;
  await serve(guest);
  const trunk = await Trunk.open(guest);
  const before = await healthOf(guest);
  for (const state of ['on', 'off'] as const) {
    await setOffloads(guest, state);
    await exchangeOverTrunk(dom0, trunk, async () => {
      await vifd.replace();
    });
    await noteRates(dom0, trunk, `offloads ${state}`);
  }
  await setOffloads(guest, 'on');
  assert.deepEqual(await healthOf(guest), before, 'the guest noticed');
  assert.deepEqual(vifd.errors(), []);
  await trunk.close();
}

/** Switches offloads at both ends of the vif. netfront leaves checksums of IPv4 partial with any setting. */
async function setOffloads(guest: Guest, state: 'on' | 'off'): Promise<void> {
  await must('ethtool', '-K', guest.vif, ...['tx', 'tso', 'gso'].flatMap((feature) => [feature, state]));
  await guest.exec(`ethtool -K eth0 tx ${state} sg ${state} tso ${state} gso ${state} gro ${state}`);
  const isSet = (features: string, feature: string) =>
    assert.match(features, new RegExp(`^${feature}: ${state}$`, 'm'));
  const ours = await must('ethtool', '-k', guest.vif);
  isSet(ours, 'tx-checksumming');
  isSet(ours, 'tcp-segmentation-offload');
  isSet(await guest.exec('ethtool -k eth0'), 'tcp-segmentation-offload');
}

/** Exchanges TCP over no tag, one and two at once, while `then` runs. @throws if a connection broke or a byte is wrong. */
export async function exchangeOverTrunk(dom0: Dom0, trunk: Trunk, then: () => Promise<void>): Promise<void> {
  for (const peer of trunk.peers) await ping(peer);
  const addresses = trunk.peers.map(({ address }) => address);
  await exchangeDuring(addresses, (text) => dom0.note(text), then);
}

async function noteRates(dom0: Dom0, trunk: Trunk, what: string): Promise<void> {
  const rates: string[] = [];
  for (const peer of trunk.peers) {
    const [to, from] = [await iperf(peer, IPERF_S, 'to'), await iperf(peer, IPERF_S, 'from')];
    rates.push(`${to.toFixed(0)} and ${from.toFixed(0)}`);
  }
  dom0.note(`${what}: TCP to and from the guest with no tag, one and two, Mbit/s: ${rates.join('; ')}`);
}
