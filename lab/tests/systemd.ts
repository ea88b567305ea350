import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { Guest } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { ping } from '../drive/traffic.js';
import { type Dom0, Skip, type Test } from './harness.js';
import { trial } from './trial.js';

/** Item 8: installed from the package by the README's steps, on a dom0 that runs systemd and udev. */
export const systemdTests: Test[] = [
  {
    name: 'README, "On a dom0": every step, as it stands there',
    boot: 'systemd',
    seconds: 250,
    run: readmeSteps,
  },
  { name: 'the unit: kills, restarts and a stop under the same load', boot: 'systemd', run: unitLives },
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
  const [build, ...steps] = shellOf(readFileSync('/mnt/vifd/README.md', 'utf8'), 'On a dom0');
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

async function unitLives(dom0: Dom0): Promise<void> {
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
  assert.equal(attached.length, 4, words);
  for (const line of attached) assert.match(line, /attached again/);
}

/** systemd starts it again by itself; it serves again when it says so. */
async function killMain(): Promise<void> {
  const before = await unit('MainPID');
  process.kill(Number(before), 'SIGKILL');
  await until('the next life serves', async () => (await unit('MainPID')) !== before && (await isActive()));
}

async function stopAndStart(dom0: Dom0, guest: Guest): Promise<void> {
  await must('systemctl', 'stop', 'vifd');
  assert.equal(await dom0.store.read(`${guest.backendPath}/state`), '4', 'the guest was let go');
  assert.ok(existsSync(`/sys/class/net/${guest.vif}/master`), 'the tap is not in its bridge');
  assert.ok(existsSync(`${JOURNALS}/${guest.vif}.q0.journal`), 'the journal went with the unit');
  await sleep(3000);
  await must('systemctl', 'start', 'vifd');
}

async function hangs(): Promise<void> {
  const guest = await servedGuest();
  await mkdir('/run/systemd/system/vifd.service.d', { recursive: true });
  await writeFile('/run/systemd/system/vifd.service.d/test.conf', '[Service]\nWatchdogSec=10s\n');
  await must('systemctl', 'daemon-reload');
  await must('systemctl', 'restart', 'vifd');
  const [before, restarts] = [await unit('MainPID'), Number(await unit('NRestarts'))];
  // Nothing else would end it: the signal waits with all others, and dom0's systemd logs nothing of its own.
  process.kill(Number(before), 'SIGSTOP');
  await until('the next life serves', async () => (await unit('MainPID')) !== before && (await isActive()));
  await ping(guest);
  assert.equal(Number(await unit('NRestarts')), restarts + 1);
}

async function servedGuest(): Promise<Guest> {
  if (!(await isActive())) throw new Skip('the unit is not there: see the test of the README');
  return Guest.running('g1');
}

async function isActive(): Promise<boolean> {
  return (await unit('ActiveState')) === 'active';
}

async function unit(property: string): Promise<string> {
  return (await must('systemctl', 'show', '--value', '-p', property, 'vifd')).trim();
}

function lastWords(): Promise<string> {
  return must('journalctl', '-o', 'cat', '--no-pager', '-u', 'vifd');
}

function journal(): Promise<string> {
  return must('journalctl', '--no-pager', '-n', '30', '-u', 'vifd');
}

/** The blocks of shell below a heading, up to the next. */
function shellOf(markdown: string, heading: string): string[] {
  const section = markdown.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1] ?? '');
}
