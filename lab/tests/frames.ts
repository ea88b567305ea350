import assert from 'node:assert/strict';
import { must, run } from '../drive/process.js';
import { iperf, ping, serve } from '../drive/traffic.js';
import { healthOf } from '../drive/witness.js';
import { type Dom0, inBothModes, type Test } from './harness.js';

/** Item 2: kinds of frames and of guests. */
export const frameTests: Test[] = [
  ...inBothModes([
    { name: 'UDP both ways', boot: 'alone', run: udp },
    { name: 'IPv6 with checksums left to us', boot: 'alone', run: ipv6 },
    { name: 'MTU 9000', boot: 'alone', run: jumbo },
    { name: 'a guest with 2 vCPUs, and TCP from guest to guest', boot: 'alone', run: guestToGuest },
  ]),
  {
    name: 'a kill while pages are mapped: the guest has them back',
    boot: 'alone',
    payload: 'map',
    run: killMapped,
  },
];

async function udp(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await serve(guest);
  for (const reverse of [[], ['-R']]) {
    // So slow that a loss is not caused by the load.
    const rate = ['-u', '-b', '1M', '-l', '1400', '-t', '4'];
    const output = await must('iperf3', '-J', '-c', guest.address, ...rate, ...reverse);
    const { packets, lost_packets: lost } = JSON.parse(output).end.sum;
    assert.ok(packets > 300, `${packets} packets`);
    assert.ok(lost <= packets / 50, `${lost} of ${packets} packets were lost`);
  }
}

async function ipv6(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await serve(guest);
  const address = `fd77::${guest.address.split('.')[3]}`;
  await guest.exec(`/bin/ip addr replace ${address}/64 dev eth0 nodad`);
  await must('ip', 'addr', 'replace', 'fd77::1/64', 'dev', 'xenbr0', 'nodad');
  await must('ping', '-c', '3', '-w', '20', address);
  for (const reverse of [[], ['-R']]) {
    const output = await must('iperf3', '-J', '-c', address, '-t', '4', ...reverse);
    assert.ok(JSON.parse(output).end.sum_received.bytes > 1e5);
  }
  const health = await healthOf(guest);
  assert.match(health.errors, /^(\w+ 0\s*)+$/);
}

async function jumbo(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await must('ip', 'link', 'set', guest.vif, 'mtu', '9000');
  await must('ip', 'link', 'set', 'xenbr0', 'mtu', '9000');
  await guest.exec('/bin/ip link set eth0 mtu 9000');
  await must('ping', '-M', 'do', '-s', '8972', '-c', '3', '-w', '20', guest.address);
  await serve(guest);
  const rates = [await iperf(guest, 4, 'to'), await iperf(guest, 4, 'from')];
  dom0.note(`TCP to the guest ${rates[0]?.toFixed(0)}, from it ${rates[1]?.toFixed(0)} Mbit/s`);
  await must('ip', 'link', 'set', 'xenbr0', 'mtu', '1500');
  await guest.exec('/bin/ip link set eth0 mtu 1500');
}

async function guestToGuest(dom0: Dom0): Promise<void> {
  const server = await dom0.guest();
  await serve(server);
  const client = await dom0.guestOfTwo();
  for (const reverse of ['', '-R']) {
    const output = await client.exec(`iperf3 -J -c ${server.address} -t 4 ${reverse}`);
    assert.ok(JSON.parse(output).end.sum_received.bytes > 1e5);
  }
}

/** The kernel must unmap what a killed process had mapped: otherwise the guest logs "Grant still in use". */
async function killMapped(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await serve(guest);
  const load = run('iperf3', '-c', guest.address, '-t', '10', '-R');
  await ping(guest);
  await dom0.vifd.replace();
  assert.equal((await load).code, 0);
  assert.doesNotMatch((await healthOf(guest)).dmesg, /still in use|netfront.*(error|broken)/i);
  assert.deepEqual(dom0.vifd.errors(), []);
}
