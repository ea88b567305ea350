import assert from 'node:assert/strict';
import type { VifDetails } from '../../lib/netback/show.js';
import type { Guest } from '../drive/guest.js';
import { run, sleep } from '../drive/process.js';
import { ping, serve } from '../drive/traffic.js';
import { healthOf } from '../drive/witness.js';
import { type Dom0, inBothModes, type Test } from './harness.js';

/** Linux's netfront asks for a queue for each of its processors. */
export const queueTests: Test[] = inBothModes([
  {
    name: 'a guest with two queues, eight streams each way over both, and a kill in the middle',
    boot: 'alone',
    run: twoQueues,
  },
]);

const SECONDS = 12;
/** Flows are spread by their hash: all of this many are in one queue in one run of 256. */
const STREAMS = 8;

async function twoQueues(dom0: Dom0): Promise<void> {
  const { vifd } = dom0;
  const guest = await dom0.guestOfTwo();
  assert.equal((await connectionOf(dom0, guest)).queues.length, 2, 'queues that the guest has');
  await serve(guest);
  await ping(guest);
  const { errors } = await healthOf(guest);
  for (const reverse of [[], ['-R']]) {
    const load = run('iperf3', '-J', '-c', guest.address, '-P', `${STREAMS}`, '-t', `${SECONDS}`, ...reverse);
    await sleep(3000);
    await vifd.replace();
    const { code, output } = await load;
    assert.equal(code, 0, output);
    const { queues, resumes } = await connectionOf(dom0, guest);
    assert.ok(resumes > 0, 'the connection began anew');
    const frames = queues.map(({ stats }) => [stats.fromGuest.frames, stats.toGuest.frames]);
    dom0.note(`frames of queue 0 and 1, from and to the guest: ${frames.join(' and ')}`);
    assert.ok(
      frames.flat().every((count) => count > 0),
      'a queue moved nothing after the kill',
    );
  }
  assert.equal((await healthOf(guest)).errors, errors, 'the guest counted errors');
  assert.deepEqual(vifd.errors(), []);
}

async function connectionOf({ vifd }: Dom0, { vif }: Guest): Promise<NonNullable<VifDetails['connection']>> {
  const { code, output } = await vifd.verb('show', vif, '--json');
  assert.equal(code, 0, output);
  const [details] = (JSON.parse(output) as { vifs: VifDetails[] }).vifs;
  assert.ok(details?.connection, `${vif} is not connected: ${output}`);
  return details.connection;
}
