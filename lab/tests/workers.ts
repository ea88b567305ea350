import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { openXen } from '../../lib/xen/native/open.js';
import type { EventChannel } from '../../lib/xen/seam.js';
import { Guest, reboot } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { ping, Session, serve } from '../drive/traffic.js';
import { installUnit, unitProperty } from '../drive/unit.js';
import { RUNTIME } from '../drive/vifd.js';
import { healthOf } from '../drive/witness.js';
import {
  endWorker,
  eventHandlesOf,
  freeWorkers,
  isExpected,
  killWorker,
  workerOf,
  workersRunning,
} from '../drive/workers.js';
import { xl } from '../drive/xl.js';
import type { Dom0, Test } from './harness.js';
import { assertNothingLeft, portsOf } from './leftovers.js';
import { spread, trial } from './trial.js';

/** The unit with the shipped workers: each vif is served by a process of its own, and another one takes it over when that dies. */
export const workerTests: Test[] = [
  {
    name: 'workers: kills under iperf and an interactive session: no reset (--long: 50 of them)',
    boot: 'systemd',
    workers: true,
    seconds: 150,
    core: true,
    run: kills,
  },
  {
    name: 'workers: a take-over keeps the event channel bound, and so waits for no end of a process',
    boot: 'systemd',
    workers: true,
    run: keepsChannels,
  },
  {
    name: 'workers: the supervisor killed, restarts and a stop under the same load: no reset',
    boot: 'systemd',
    workers: true,
    seconds: 200,
    run: unitRestarts,
  },
  {
    name: 'workers: xl destroy and reboots during take-overs: nothing is left, no effect on another guest',
    boot: 'systemd',
    workers: true,
    seconds: 300,
    run: destroys,
  },
];

const PORTS_BELOW = 4;
/** A worker needs some seconds to start here: some are killed before there is another standby. */
const RUN_MS_MAX = 3000;

async function kills(dom0: Dom0): Promise<void> {
  const guest = await servedByWorkers(dom0, 'g1');
  const { events } = dom0.unit;
  const first = events.length;
  const kill = async (): Promise<void> => void (await killWorker(dom0.store, guest));
  const plan = { count: dom0.long ? 50 : 8, runMs: () => RUN_MS_MAX * Math.random() };
  await trial(dom0, guest, plan, [
    { name: 'a worker killed, with a standby', ready: () => standbyIsThere(dom0), run: kill },
    { name: 'a worker killed soon after another', run: kill },
  ]);
  // A worker that dies before it has taken over is in no line of its own: the line of the next one counts from the first death.
  const gaps = events.slice(first).flatMap(({ event, gapMs = 0 }) => (event === 'took-over' ? [gapMs] : []));
  assert.ok(gaps.length > 0, 'the log has no take-over');
  dom0.note(`taken over ${gaps.length} times, p50, p99, longest in s: ${spread(gaps)}`);
  assertOnlyDeaths(dom0, first);
}

/**
 * Xen gives a new binding the lowest free port. So this has the guest's channel bound to a high one, frees those below, and kills workers: a
 * channel that was bound anew would get one of these.
 */
async function keepsChannels(dom0: Dom0): Promise<void> {
  const guest = await servedByWorkers(dom0, 'g1');
  await ping(guest);
  const below: EventChannel[] = [];
  await using xen = await openXen();
  const take = () => {
    for (let i = 0; i < PORTS_BELOW; i++) below.push(xen.events.bindUnbound(guest.domid, () => {}));
  };
  take();
  await dom0.unit.stop('SIGTERM');
  // Among them the one that the guest's channel had.
  take();
  await dom0.unit.start();
  await until(`${guest.vif} is served`, async () => (await ownPortOf(guest)) !== undefined);
  const port = await ownPortOf(guest);
  for (const channel of below) channel[Symbol.dispose]();
  for (let kill = 0; kill < 2; kill++) {
    await standbyIsThere(dom0);
    await killWorker(dom0.store, guest);
    await ping(guest);
    assert.equal(await ownPortOf(guest), port, 'the channel was bound anew');
  }
}

/** Returns dom0's port of the guest's only event channel; undefined if it is not bound. */
async function ownPortOf({ domid }: Guest): Promise<string | undefined> {
  const remote = (await must('xenstore-read', `/local/domain/${domid}/device/vif/0/event-channel-tx`)).trim();
  const line = (await portsOf(domid)).find((text) => text.endsWith(`Port ${remote}`));
  return line?.split(':')[0]?.trim();
}

async function unitRestarts(dom0: Dom0): Promise<void> {
  const guest = await servedByWorkers(dom0, 'g1');
  const { unit } = dom0;
  const first = unit.events.length;
  const killSupervisor = async (): Promise<void> => {
    const [worker, inSupervisor] = [await workerOf(dom0.store, guest), eventHandlesOf(unit.pid)];
    await unit.kill();
    assert.equal(
      await workerOf(dom0.store, guest),
      worker,
      'another worker serves, though only the supervisor was killed',
    );
    await until('the next supervisor has the channels', () => eventHandlesOf(unit.pid) >= inSupervisor);
  };
  await trial(dom0, guest, 0, [
    { name: 'the supervisor killed', run: killSupervisor },
    { name: 'a worker killed', run: async () => void (await killWorker(dom0.store, guest)) },
    { name: 'systemctl restart', run: () => unit.start() },
    { name: 'the supervisor and a worker killed', run: () => killBoth(dom0, guest) },
    { name: 'systemctl stop, 3 s, start', run: () => stopAndStart(dom0, guest) },
  ]);
  assertOnlyDeaths(dom0, first);
}

async function killBoth(dom0: Dom0, guest: Guest): Promise<void> {
  const [worker, supervisor] = [await workerOf(dom0.store, guest), dom0.unit.pid];
  const next = dom0.unit.kill();
  await until('the supervisor has ended', () => !existsSync(`/proc/${supervisor}/exe`));
  endWorker(worker);
  await next;
  await until('another worker serves', async () => (await workerOf(dom0.store, guest)) !== worker);
}

async function stopAndStart(dom0: Dom0, guest: Guest): Promise<void> {
  const processes = [dom0.unit.pid ?? 0, ...workersRunning()];
  await dom0.unit.stop('SIGTERM');
  assert.equal(await unitProperty('Result'), 'success');
  assert.deepEqual(
    processes.filter((pid) => existsSync(`/proc/${pid}`)),
    [],
    'processes are left',
  );
  assert.deepEqual(workersRunning(), [], 'sockets of workers are left');
  assert.equal(await dom0.store.read(`${guest.backendPath}/state`), '4', 'the guest was disconnected');
  assert.ok(existsSync(`/sys/class/net/${guest.vif}/master`), 'the tap is not in its bridge');
  assert.ok(existsSync(`${RUNTIME}/${guest.vif}.q0.journal`), 'the journal went with the unit');
  await sleep(3000);
  await dom0.unit.start();
}

/** From the kill to the end of the domain (ms): before the death is noticed, in the middle of a take-over, after it. */
const DESTROY_AFTER_MS = [0, 60, 400];
const MANY_DESTROYS = 12;
const DESTROY_AFTER_MS_MAX = 1000;

async function destroys(dom0: Dom0): Promise<void> {
  const guest = await servedByWorkers(dom0, 'g1');
  if ((await Guest.find('g2')) !== undefined) await run('xl', 'destroy', 'g2');
  const first = dom0.unit.events.length;
  await serve(guest);
  await ping(guest);
  const before = await healthOf(guest);
  const handles = eventHandlesOf(dom0.unit.pid);
  using session = await Session.open(guest);
  const began = performance.now();
  const delays = dom0.long
    ? Array.from({ length: MANY_DESTROYS }, () => DESTROY_AFTER_MS_MAX * Math.random())
    : DESTROY_AFTER_MS;
  for (const delayMs of delays) {
    const neighbour = await underKill(dom0, delayMs);
    await xl('destroy', neighbour.name);
    await assertNothingLeft(dom0, neighbour.domid);
  }
  const neighbour = await underKill(dom0, DESTROY_AFTER_MS[1] ?? 0);
  const after = await reboot(neighbour);
  await ping(after);
  await assertNothingLeft(dom0, neighbour.domid);
  await xl('destroy', after.name);
  await assertNothingLeft(dom0, after.domid);
  await until(
    'the supervisor has no channel of a guest that is gone',
    () => eventHandlesOf(dom0.unit.pid) === handles,
  );
  dom0.note(`longest silence of the other guest: ${session.gapMs(began, performance.now()).toFixed(0)} ms`);
  await session.end();
  assert.deepEqual(await healthOf(guest), before, 'the other guest noticed');
  assertOnlyDeaths(dom0, first);
}

/** Starts g2, and kills its worker while frames are on their way to it. @returns g2, after `delayMs`. */
async function underKill(dom0: Dom0, delayMs: number): Promise<Guest> {
  const guest = await servedByWorkers(dom0, 'g2');
  await ping(guest);
  await standbyIsThere(dom0);
  // It ends by itself, and without a reply from a guest that is gone by then.
  void run('ping', '-q', '-i', '0.02', '-w', '5', '-s', '1400', guest.address);
  endWorker(await workerOf(dom0.store, guest));
  await sleep(delayMs);
  return guest;
}

/** If it runs alone (--only), a test installs the unit without the test of the README. */
async function servedByWorkers(dom0: Dom0, name: string): Promise<Guest> {
  await installUnit();
  const guest = await dom0.guest(name);
  await until(`a worker serves ${guest.vif}`, async () =>
    workersRunning().includes(await workerOf(dom0.store, guest)),
  );
  return guest;
}

/** Waits for a worker that serves no vif. */
async function standbyIsThere({ store, unit }: Dom0): Promise<void> {
  await until('there is a standby', async () => {
    const started = new Set(
      unit.events.filter(({ event }) => event === 'worker-started').map(({ pid }) => pid),
    );
    return (await freeWorkers(store)).some((pid) => started.has(pid));
  });
}

/** A lack of processor time is the lab's, and at worst a worker is killed for it. */
function assertOnlyDeaths(dom0: Dom0, first: number): void {
  const errors = dom0.unit.errors(first);
  const silent = errors.filter((message) => message.includes('its event loop'));
  if (silent.length > 0) dom0.note(`killed because the lab gave them no processor: ${silent.length} workers`);
  assert.deepEqual(
    errors.filter((message) => !isExpected(message)),
    [],
  );
}
