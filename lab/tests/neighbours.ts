import assert from 'node:assert/strict';
import { Guest, reboot } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { iperf, ping, Session, serve } from '../drive/traffic.js';
import { healthOf } from '../drive/witness.js';
import type { Dom0, Test } from './harness.js';

/** Item 6: the events of one guest do not concern another. */
export const neighbourTests: Test[] = [
  {
    name: 'a guest paused, rebooted, crashed and destroyed while another is measured: no effect',
    boot: 'alone',
    seconds: 250,
    run: neighbours,
  },
];

/** TCP retransmits a lost segment after 200 ms at first; the machine is busy because it builds guests. */
const GAP_MAX_MS = 3000;
/** The least share of the rate beside an undisturbed neighbour. Both guests share two processors with the disturbance. */
const RATE_RATIO_MIN = 0.25;
const MEASURED_S = 8;

/** A guest that starts or panics takes processor time from all others, and Xen's scheduling is not the subject of the test. Default: 256. */
const LIGHT = ['GUEST_XL=cpu_weight = 16'];

async function neighbours(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest('g1');
  // The domain may belong to another test.
  if ((await Guest.find('g2')) !== undefined) await must('xl', 'destroy', 'g2');
  await Guest.running('g2', LIGHT);
  await serve(guest);
  await ping(guest);
  const health = await healthOf(guest);
  using session = await Session.open(guest);
  const measured = async (name: string, event: (neighbour: Guest) => Promise<void>): Promise<number> => {
    const neighbour = await Guest.running('g2', LIGHT);
    // Frames are on their way to the guest at that moment, and may get no response.
    const traffic = run(
      'timeout',
      `${MEASURED_S}`,
      'ping',
      '-q',
      '-i',
      '0.02',
      '-s',
      '1400',
      neighbour.address,
    );
    const began = performance.now();
    const rate = iperf(guest, MEASURED_S, 'from');
    await sleep(1500);
    await event(neighbour);
    const mbits = await rate;
    await traffic;
    await sleep(300);
    const gapMs = session.gapMs(began, performance.now());
    dom0.note(`${name}: ${mbits.toFixed(1)} Mbit/s, longest silence ${gapMs.toFixed(0)} ms`);
    assert.ok(gapMs < GAP_MAX_MS, `${name}: the session was silent for ${gapMs.toFixed(0)} ms`);
    return mbits;
  };

  const nothing = () => measured('nothing', async () => {});
  let quiet = await nothing();
  for (const [name, event] of EVENTS) {
    const rate = await measured(name, event);
    // The machine's other work changes rates as much, so this measures the rate without the disturbance too.
    if (rate <= quiet * RATE_RATIO_MIN) quiet = await nothing();
    assert.ok(rate > quiet * RATE_RATIO_MIN, `${name}: ${rate} Mbit/s, and ${quiet} without`);
  }
  await session.end();
  assert.deepEqual(await healthOf(guest), health, 'the other guest noticed');
  assert.deepEqual(dom0.vifd.errors(), []);
}

const EVENTS: ReadonlyArray<readonly [name: string, event: (neighbour: Guest) => Promise<void>]> = [
  ['paused and unpaused', pause],
  ['rebooted', async (neighbour) => void (await reboot(neighbour))],
  ['crashed', crash],
  ['destroyed', async (neighbour) => void (await must('xl', 'destroy', neighbour.name))],
];

async function pause(neighbour: Guest): Promise<void> {
  await must('xl', 'pause', neighbour.name);
  await sleep(3000);
  await must('xl', 'unpause', neighbour.name);
  await ping(neighbour);
}

/** The guest's kernel panics; xl then destroys the guest, which is on_crash's default. */
async function crash(neighbour: Guest): Promise<void> {
  await neighbour.tell('echo c >/proc/sysrq-trigger');
  await until(`${neighbour.name} is gone`, async () => (await Guest.find(neighbour.name)) === undefined);
}
