import assert from 'node:assert/strict';
import { mkdir, rm, stat } from 'node:fs/promises';
import { exchangeDuring } from '../drive/echo.js';
import { Guest } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { IperfLoop, ping, Session, serve } from '../drive/traffic.js';
import { healthOf, StateWitness } from '../drive/witness.js';
import { xl } from '../drive/xl.js';
import { startGuest, WAIT_S } from './guests.js';
import type { Dom0, Test } from './harness.js';
import { assertNothingLeft } from './leftovers.js';

/** A guest that is saved or migrated comes back as another domain with the same addresses, and its connections must survive. */
export const saveTests: Test[] = [
  {
    name: 'xl save -c under iperf, and a kill: the guest runs on, no reset',
    boot: 'alone',
    seconds: 150,
    run: checkpoint,
  },
  {
    name: 'xl save and xl restore, and a kill: connections stay up, nothing is left of the domain before',
    boot: 'alone',
    seconds: 200,
    run: (dom0) => savedAndRestored(dom0, 'before'),
  },
  {
    name: 'xl save with vifd killed meanwhile: connections stay up after xl restore, nothing is left of the domain before',
    boot: 'alone',
    seconds: 200,
    run: (dom0) => savedAndRestored(dom0, 'meanwhile'),
  },
  {
    name: 'xl migrate of a PVH guest to this host under TCP, and a kill: connections stay up, nothing is left of the domain before',
    boot: 'alone',
    seconds: WAIT_S + 150,
    run: migrated,
  },
];

/** On dom0's disk, which has room: a guest's memory is a tenth of dom0's. */
const FOLDER = '/var/tmp/saved';
/**
 * TCP retransmits after 0.2 s, and then each time after twice as long: after a silence of a minute the next retransmission may be a minute
 * away.
 */
const PATIENCE_MS = 120_000;

/** Saves a guest, which continues to run. It is paused while it is written, and its vif stays connected. */
async function checkpoint(dom0: Dom0): Promise<void> {
  const guest = await dom0.guest();
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  const witness = await StateWitness.open(dom0.store, guest);
  using session = await Session.open(guest);
  using load = new IperfLoop(guest, 6);
  await sleep(3000);
  for (const then of [async () => {}, () => dom0.vifd.replace()]) {
    const file = await fileFor(guest);
    const began = performance.now();
    const saving = run('xl', 'save', '-c', guest.name, file);
    await sleep(1000);
    await then();
    const { code, output } = await saving;
    assert.equal(code, 0, output);
    const megabytes = ((await stat(file)).size / 1e6).toFixed(0);
    dom0.note(`xl save -c: ${megabytes} MB in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    await ping(guest);
    await sleep(3000);
    await rm(file);
  }
  await load.end();
  await session.end(PATIENCE_MS);
  assert.deepEqual(await witness.end(), ['backend 4', 'frontend 4']);
  const after = await healthOf(guest);
  assert.deepEqual({ ...after, dmesg: '' }, { ...before, dmesg: '' }, 'the guest noticed');
  assert.doesNotMatch(after.dmesg, /netfront.*(error|broken|timeout)|still in use/i);
  assert.deepEqual(dom0.vifd.errors(), []);
}

async function savedAndRestored(dom0: Dom0, killed: 'before' | 'meanwhile'): Promise<void> {
  const guest = await dom0.guest();
  await movedUnderTcp(dom0, guest, async () => {
    const file = await fileFor(guest);
    if (killed === 'before') await dom0.vifd.replace();
    const began = performance.now();
    const saving = run('xl', 'save', guest.name, file);
    if (killed === 'meanwhile') {
      await sleep(1000);
      await dom0.vifd.stop('SIGKILL');
    }
    const { code, output } = await saving;
    assert.equal(code, 0, output);
    const saved = performance.now();
    // libxl removes the vif itself after 10 s without a backend.
    if (killed === 'meanwhile') await dom0.vifd.start();
    await assertNothingLeft(dom0, guest.domid);
    const restoring = performance.now();
    await xl('restore', file);
    const seconds = [saved - began, performance.now() - restoring].map((ms) => (ms / 1000).toFixed(1));
    dom0.note(`xl save took ${seconds[0]} s, xl restore ${seconds[1]} s`);
    await rm(file);
  });
}

/**
 * Migrates a guest to the host that it is on. `-s ''` has xl run the receiver in a shell, not over ssh. The guest runs while its memory is
 * sent, so Xen must track its writes. Debian's Xen cannot do that for PV guests ("Failed to enable logdirty": it is built without
 * CONFIG_SHADOW_PAGING).
 */
async function migrated(dom0: Dom0): Promise<void> {
  if (!dom0.vifd.running) await dom0.vifd.start();
  const guest = await startGuest({ type: 'pvh' });
  // xenconsoled names the log of the new domain after the domain's first name.
  const logs = '/var/log/xen/console';
  await must('ln', '-sfn', `guest-${guest.name}.log`, `${logs}/guest-${guest.name}--incoming.log`);
  await movedUnderTcp(dom0, guest, async () => {
    const began = performance.now();
    const migrating = run('xl', 'migrate', '-s', '', guest.name, 'xl migrate-receive');
    await sleep(2000);
    await dom0.vifd.replace();
    const { code, output } = await migrating;
    assert.equal(code, 0, output);
    dom0.note(`xl migrate took ${((performance.now() - began) / 1000).toFixed(1)} s`);
  });
  await must('xl', 'destroy', guest.name);
}

/** Runs `move`, which ends the domain and starts the guest as another one, under TCP; then kills vifd once more. */
async function movedUnderTcp(dom0: Dom0, before: Guest, move: () => Promise<void>): Promise<void> {
  await serve(before);
  await ping(before);
  const moving = async (): Promise<void> => {
    await move();
    const after = await movedOf(before);
    const isConnected = async () => (await dom0.store.read(`${after.backendPath}/state`)) === '4';
    await until('the new domain is Connected', isConnected);
    await ping(after);
    await sleep(3000);
    // The new connection resumes too.
    await dom0.vifd.replace();
  };
  await exchangeDuring([before.address], (text) => dom0.note(text), moving, PATIENCE_MS);
  const after = await movedOf(before);
  await assertNothingLeft(dom0, before.domid);
  assert.doesNotMatch((await healthOf(after)).dmesg, /netfront.*(error|broken|timeout)|still in use/i);
  assert.match(await must('ip', '-d', 'link', 'show', 'dev', after.vif), /master xenbr0/);
  assert.deepEqual(dom0.vifd.errors(), []);
}

async function movedOf({ name, domid }: Guest): Promise<Guest> {
  const guest = await Guest.find(name);
  assert.ok(guest !== undefined && guest.domid !== domid, `${name} is no new domain`);
  return guest;
}

async function fileFor(guest: Guest): Promise<string> {
  await mkdir(FOLDER, { recursive: true });
  return `${FOLDER}/${guest.name}`;
}
