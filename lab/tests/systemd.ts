import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Guest } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { blocksOf } from '../drive/readme.js';
import { ping } from '../drive/traffic.js';
import { installUnit, unitProperty } from '../drive/unit.js';
import { workersRunning } from '../drive/workers.js';
import { type Dom0, Skip, type Test } from './harness.js';
import { trial } from './trial.js';

/** Item 8: installed from the package by the README's steps, on a dom0 that runs systemd and udev. */
export const systemdTests: Test[] = [
  {
    name: 'README, "On a dom0": every step, as it stands there',
    boot: 'systemd',
    seconds: 250,
    core: true,
    run: readmeSteps,
  },
  {
    name: 'the unit: kills, restarts and a stop under the same load',
    boot: 'systemd',
    core: true,
    run: unitRestarts,
  },
  {
    name: 'the unit: a tap that is deleted or leaves its bridge is reported, and mended',
    boot: 'systemd',
    run: troubles,
  },
  { name: 'the unit: a life that hangs is ended by the watchdog', boot: 'systemd', run: hangs },
];

const PLACE = '/run/steps';
const JOURNALS = '/run/vifd';

async function readmeSteps(dom0: Dom0): Promise<void> {
  if ((await run('npm', '--version')).code !== 0)
    throw new Skip('dom0 has no npm: that of the host is not one folder, as with node from nodejs.org');
  await mkdir(PLACE, { recursive: true });
  await must('cp', '/mnt/vifd/build/lab/vifd.tgz', `${PLACE}/vifd-0.1.0.tgz`);
  await writeFile(`${PLACE}/g1.cfg`, await must('guest', 'config', 'g1'));
  const [build, ...steps] = blocksOf('On a dom0', 'sh');
  assert.match(build ?? '', /npm pack/, 'the first block is for another machine');
  assert.ok(steps.length >= 4, `only ${steps.length} blocks of shell are left to run`);
  for (const step of steps) {
    const began = performance.now();
    const { code, output } = await run('bash', '-c', `cd ${PLACE} && set -ex; ${step}`);
    assert.equal(code, 0, `${step}\n${output}\n${await journal()}`);
    dom0.note(`${((performance.now() - began) / 1000).toFixed(0)} s: ${step.trim().split('\n')[0]}`);
  }
  const { ready, checks } = JSON.parse(await must('vifd', 'check', '--json'));
  assert.deepEqual(
    checks.filter(({ state }: { state: string }) => state !== 'ok'),
    [],
    'vifd check',
  );
  assert.equal(ready, true);
  await must('guest', 'wait', 'g1');
  // Its last step is a kill.
  await until('the unit serves', isActive);
  await ping(await Guest.running('g1'));
}

async function unitRestarts(dom0: Dom0): Promise<void> {
  const guest = await servedGuest();
  const first = await lastWords();
  await trial(dom0, guest, 0, [
    { name: 'the main process killed', run: killMain },
    { name: 'systemctl restart', run: () => must('systemctl', 'restart', 'vifd').then(() => undefined) },
    { name: 'systemctl stop, 3 s, start', run: () => stopAndStart(dom0, guest) },
    { name: 'the main process killed', run: killMain },
  ]);
  const words = (await lastWords()).slice(first.length);
  assert.doesNotMatch(words, /Failed to start|timed out|core-dump/i);
  const attached = words.split('\n').filter((line) => line.includes(`${guest.vif} attached`));
  // Workers continue to serve while their supervisor is away.
  assert.equal(attached.length, workersRunning().length > 0 ? 2 : 4, words);
  for (const line of attached) assert.match(line, /attached again/);
}

/** systemd starts vifd again, which reports each vif that it serves again. */
async function killMain(): Promise<void> {
  const before = await unitProperty('MainPID');
  process.kill(Number(before), 'SIGKILL');
  await until(
    'the next process serves',
    async () => (await unitProperty('MainPID')) !== before && (await isActive()),
  );
}

async function stopAndStart(dom0: Dom0, guest: Guest): Promise<void> {
  await must('systemctl', 'stop', 'vifd');
  assert.equal(await dom0.store.read(`${guest.backendPath}/state`), '4', 'the guest was disconnected');
  assert.ok(existsSync(`/sys/class/net/${guest.vif}/master`), 'the tap is not in its bridge');
  assert.ok(existsSync(`${JOURNALS}/${guest.vif}.q0.journal`), 'the journal went with the unit');
  await sleep(3000);
  await must('systemctl', 'start', 'vifd');
}

/** A mistake of an administrator at a guest's interface. The journal reports it with a level, so that `journalctl -p` finds it. */
async function troubles(): Promise<void> {
  const guest = await servedGuest();
  await ping(guest);
  const [masterOf, before] = [`/sys/class/net/${guest.vif}/master`, await warnings()];
  const reported = async (what: RegExp): Promise<void> =>
    until(`the journal has ${what}`, async () => what.test((await warnings()).slice(before.length)));

  await must('ip', 'link', 'delete', guest.vif);
  await until('the tap is back in its bridge', () => existsSync(masterOf));
  await ping(guest);
  await reported(new RegExp(`${guest.vif} was deleted`));

  await must('ip', 'link', 'set', guest.vif, 'nomaster');
  await reported(new RegExp(`${guest.vif} was taken out of xenbr0`));
  assert.match(await must('vifd', 'show', guest.vif), /was taken out of xenbr0/);
  const { length } = await lastWords();
  await must('ip', 'link', 'set', guest.vif, 'master', 'xenbr0');
  await until('vifd logs that it is mended', async () => /mended: /.test((await lastWords()).slice(length)));
  await ping(guest);
  assert.doesNotMatch(await warnings(), /attached|mended/, 'what is no trouble has the level of one');
}

function warnings(): Promise<string> {
  return must('journalctl', '-o', 'cat', '--no-pager', '-p', 'warning', '-u', 'vifd');
}

async function hangs(): Promise<void> {
  const guest = await servedGuest();
  const settings = '/run/systemd/system/vifd.service.d/test.conf';
  await mkdir(dirname(settings), { recursive: true });
  await writeFile(settings, '[Service]\nWatchdogSec=10s\n');
  await must('systemctl', 'daemon-reload');
  await must('systemctl', 'restart', 'vifd');
  const [before, restarts] = [await unitProperty('MainPID'), Number(await unitProperty('NRestarts'))];
  // Only the watchdog ends a stopped process: other signals wait until it continues, and dom0's systemd logs nothing about it.
  process.kill(Number(before), 'SIGSTOP');
  await until(
    'the next process serves',
    async () => (await unitProperty('MainPID')) !== before && (await isActive()),
  );
  await ping(guest);
  assert.equal(Number(await unitProperty('NRestarts')), restarts + 1);
  await rm(settings);
  await must('systemctl', 'daemon-reload');
}

/** If it runs alone (--only, or a gate without the test of the README), a test installs the unit without that test's checks. */
async function servedGuest(): Promise<Guest> {
  await installUnit();
  if (!(await isActive())) await must('systemctl', 'start', 'vifd');
  return Guest.running('g1');
}

async function isActive(): Promise<boolean> {
  return (await unitProperty('ActiveState')) === 'active';
}

function lastWords(): Promise<string> {
  return must('journalctl', '-o', 'cat', '--no-pager', '-u', 'vifd');
}

function journal(): Promise<string> {
  return must('journalctl', '--no-pager', '-n', '30', '-u', 'vifd');
}
