import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { exchangeDuring } from '../drive/echo.js';
import { Guest } from '../drive/guest.js';
import { must, run } from '../drive/process.js';
import { iperf, ping, serve } from '../drive/traffic.js';
import { type Dom0, Skip, type Test } from './harness.js';

/** The kernel that users of bookworm have from bookworm-security. Other guests boot dom0's, 6.1. */
const NEWER_KERNEL = '6.12';
/** How long a guest may take to start with hardware virtualisation, which the emulator emulates too. */
export const WAIT_S = 400;

interface Kind {
  readonly type: 'pv' | 'pvh';
  /** Default: dom0's. */
  readonly kernel?: string;
}

/** Kinds of guests. These tests are the last of their boot, as such guests may take minutes to start. */
export const guestTests: Test[] = [
  {
    name: `a PV guest of Linux ${NEWER_KERNEL}: TCP both ways over a kill, each byte as it was sent`,
    boot: 'alone',
    run: (dom0) => meets(dom0, { type: 'pv', kernel: NEWER_KERNEL }),
  },
  {
    name: 'a PVH guest',
    boot: 'alone',
    seconds: WAIT_S + 60,
    run: (dom0) => meets(dom0, { type: 'pvh' }),
  },
  {
    name: `a PVH guest of Linux ${NEWER_KERNEL}`,
    boot: 'alone',
    seconds: WAIT_S + 60,
    run: (dom0) => meets(dom0, { type: 'pvh', kernel: NEWER_KERNEL }),
  },
];

async function meets(dom0: Dom0, kind: Kind): Promise<void> {
  const { vifd } = dom0;
  if (!vifd.running) await vifd.start();
  const guest = await startGuest(kind);
  dom0.note(await guest.exec('uname -r'));
  await ping(guest);
  await serve(guest);
  const rates = [await iperf(guest, 4, 'to'), await iperf(guest, 4, 'from')];
  dom0.note(`TCP to the guest ${rates[0]?.toFixed(0)}, from it ${rates[1]?.toFixed(0)} Mbit/s`);
  await exchangeDuring(
    [guest.address],
    (text) => dom0.note(text),
    async () => {
      await vifd.replace();
    },
  );
  assert.deepEqual(vifd.errors(), []);
  await must('xl', 'destroy', guest.name);
}

/**
 * Starts a guest of this kind. The emulator's nested paging fails a guest now and then: the guest resets while it boots, and xl starts it
 * again as another domain.
 * @throws Skip if the guest only reset, or the images lack its kernel.
 */
export async function startGuest({ type, kernel }: Kind): Promise<Guest> {
  if (kernel !== undefined && !existsSync(`/lab/guest-vmlinuz-${kernel}`))
    throw new Skip(`the mirror had no linux-image-${kernel}-amd64 when the images were built`);
  const environment = [
    `GUEST_TYPE=${type}`,
    `GUEST_KERNEL=${kernel ?? ''}`,
    `GUEST_WAIT=${type === 'pv' ? 120 : WAIT_S}`,
  ];
  const first = (await lastDomid()) + 1;
  try {
    return await Guest.running('g3', environment);
  } catch (error) {
    const resets = (await lastDomid()) - first;
    await run('xl', 'destroy', 'g3');
    if (resets < 1) throw error;
    throw new Skip(`in ${WAIT_S} s the emulator reset it ${resets} times while it booted`);
  }
}

async function lastDomid(): Promise<number> {
  const domains = JSON.parse(await must('xl', 'list', '--long')) as { domid: number }[];
  return Math.max(...domains.map(({ domid }) => domid));
}
