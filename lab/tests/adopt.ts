import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, readlink, writeFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { Guest } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { ping, Session, serve } from '../drive/traffic.js';
import { Trunk } from '../drive/trunk.js';
import { healthOf } from '../drive/witness.js';
import { isExpected, killWorker } from '../drive/workers.js';
import type { Dom0, Test } from './harness.js';
import { trial } from './trial.js';
import { exchangeOverTrunk } from './trunk.js';

/** Item 5: passes a live vif between the kernel's driver and vifd, which runs by the shipped unit as it does for users. */
export const adoptTests: Test[] = [
  {
    name: 'ten times adopted and released under load: no reset',
    boot: 'beside',
    seconds: 500,
    core: true,
    run: toAndFro,
  },
  { name: 'adopt --all and release --all, with two guests', boot: 'beside', run: all },
  { name: 'what cannot be adopted stays as it is', boot: 'beside', run: refused },
  { name: 'an adopt, and a vifd, that are killed on the way', boot: 'beside', run: killed },
  {
    name: 'a VLAN trunk is adopted and released under TCP: no reset, each byte as it was sent',
    boot: 'beside',
    run: trunkToAndFro,
  },
  {
    name: 'workers: adopted, a kill of the worker, and released under load: no reset',
    boot: 'beside',
    workers: true,
    seconds: 250,
    run: withWorkers,
  },
];

const TIMES = 10;
const RUN_MS = 3000;
/** Neither is a default, since the bridge's port must come back with its settings. */
const MTU = 1400;
const FLAG = 'isolated';

async function toAndFro(dom0: Dom0): Promise<void> {
  const guest = await kernels(dom0, 'g1');
  await must('ip', 'link', 'set', guest.vif, 'mtu', `${MTU}`);
  await writeFile(portFlag(guest), '1');
  const before = await setUp(guest);
  assert.equal(before.mtu, MTU);
  let adoptions = 0;
  const kept = () => assertKept(guest, before);
  const adopted = {
    name: 'adopted',
    run: async () => {
      adoptions += 1;
      await verb(dom0, 'adopt', guest.vif);
      await kept();
    },
  };
  const released = {
    name: 'released',
    run: async () => {
      await verb(dom0, 'release', guest.vif);
      await kept();
      // The second half runs in payload mode map; the kernel serves meanwhile.
      if (adoptions !== TIMES / 2) return;
      await dom0.vifd.stop('SIGTERM');
      dom0.vifd.payload = 'map';
      await dom0.vifd.start();
    },
  };
  const states = ['backend 4', 'backend 2', 'frontend 4'];
  await trial(dom0, guest, { count: 2 * TIMES, runMs: () => RUN_MS }, [adopted, released], states);
  assert.equal(adoptions, TIMES);
  assert.deepEqual(dom0.vifd.errors(), []);
  await writeFile(portFlag(guest), '0');
  await must('ip', 'link', 'set', guest.vif, 'mtu', '1500');
}

async function all(dom0: Dom0): Promise<void> {
  const guests = [await kernels(dom0, 'g1'), await kernels(dom0, 'g2')];
  const before = await Promise.all(guests.map(setUp));
  const sessions: Session[] = [];
  for (const guest of guests) {
    await serve(guest);
    sessions.push(await Session.open(guest));
  }
  const names = guests.map(({ vif }) => vif);
  for (const way of ['adopt', 'release'] as const) {
    const output = JSON.parse(await verb(dom0, way, '--all', '--json'));
    assert.deepEqual(
      output.vifs.map(({ vif }: { vif: string }) => vif),
      names,
    );
    dom0.note(
      `${way} --all: ${output.vifs.map(({ gapMs }: { gapMs: number }) => gapMs.toFixed(0)).join(', ')} ms`,
    );
    assert.deepEqual(
      guests.map((guest) => isKernels(guest)),
      names.map(() => way === 'release'),
    );
    for (const [i, guest] of guests.entries()) await assertKept(guest, before[i] as SetUp);
    for (const guest of guests) await ping(guest);
  }
  for (const session of sessions) await session.end();
}

async function refused(dom0: Dom0): Promise<void> {
  const guest = await kernels(dom0, 'g1');
  const nodes = () => must('xenstore-ls', '-f', guest.backendPath);
  const before = await nodes();
  const says = async (code: number, message: RegExp, ...args: string[]): Promise<void> => {
    const { code: status, output } = await dom0.vifd.verb(...args);
    assert.equal(status, code, output);
    assert.match(output, message);
    assert.equal(output.trim().split('\n').length, 1, output);
  };
  await says(1, /Another vifd \(process \d+\) serves from \/run\/vifd/, 'run');
  await says(1, /xen-netback serves vif\S+ already/, 'release', guest.vif);
  await says(1, /There is no vif4000\.0/, 'adopt', 'vif4000.0');
  await says(2, /names no vif/, 'adopt', 'eth0');
  await dom0.vifd.stop('SIGTERM');
  await says(4, /would lose its network: first start `vifd run`/, 'adopt', guest.vif);
  assert.equal(await nodes(), before);
  await ping(guest);
  await dom0.vifd.start();
}

/** A second verb completes the work of the first, even if no vifd runs any more. */
async function killed(dom0: Dom0): Promise<void> {
  const guest = await kernels(dom0, 'g1');
  await serve(guest);
  const health = await healthOf(guest);
  const before = await setUp(guest);
  using session = await Session.open(guest);
  const load = run('iperf3', '-c', guest.address, '-t', '40', '-R');

  const [program, ...first] = dom0.vifd.command;
  const adopting = spawn(program, [...first, 'adopt', guest.vif], { stdio: 'ignore' });
  const ended = new Promise((resolve) => adopting.once('close', resolve));
  await until('the kernel has released the vif', () => !isKernels(guest));
  adopting.kill('SIGKILL');
  await ended;
  await sleep(3000);
  const again = await dom0.vifd.verb('adopt', guest.vif);
  // The first verb may have completed it.
  if (again.code !== 0) assert.match(again.output, /vifd serves vif\S+ already/);
  await assertKept(guest, before);

  await dom0.vifd.stop('SIGKILL');
  await verb(dom0, 'release', guest.vif);
  assert.ok(isKernels(guest));
  await assertKept(guest, before);
  assert.ok(!existsSync(`/run/vifd/${guest.vif}.q0.journal`), 'a journal is left');
  const { code, output } = await load;
  assert.equal(code, 0, output);
  await session.end();
  assert.deepEqual(await healthOf(guest), health);
  await dom0.vifd.start();
}

async function trunkToAndFro(dom0: Dom0): Promise<void> {
  const guest = await kernels(dom0, 'g1');
  await serve(guest);
  const trunk = await Trunk.open(guest);
  const before = await healthOf(guest);
  await exchangeOverTrunk(dom0, trunk, async () => {
    await verb(dom0, 'adopt', guest.vif);
    await sleep(5000);
    await verb(dom0, 'release', guest.vif);
  });
  assert.deepEqual(await healthOf(guest), before, 'the guest noticed');
  assert.deepEqual(dom0.vifd.errors(), []);
  await trunk.close();
}

async function withWorkers(dom0: Dom0): Promise<void> {
  const guest = await kernels(dom0, 'g1');
  const before = await setUp(guest);
  const handOver = async (name: string): Promise<void> => {
    await verb(dom0, name, guest.vif);
    await assertKept(guest, before);
  };
  const kill = async (): Promise<void> => {
    const pid = await killWorker(dom0.store, guest);
    assert.notEqual(pid, dom0.vifd.pid, 'the supervisor served the guest');
    await assertKept(guest, before);
  };
  const endings = [
    { name: 'adopted', run: () => handOver('adopt') },
    { name: 'a worker killed', run: kill },
    { name: 'released', run: () => handOver('release') },
  ];
  const plan = { count: 2 * endings.length, runMs: () => RUN_MS };
  await trial(dom0, guest, plan, endings, ['backend 4', 'backend 2', 'frontend 4']);
  const errors = dom0.vifd.errors().filter((message) => !isExpected(message));
  assert.deepEqual(errors, []);
}

/** A guest that xen-netback serves, while a vifd runs too. */
async function kernels(dom0: Dom0, name: string): Promise<Guest> {
  const guest = await Guest.running(name);
  if (!dom0.vifd.running) await dom0.vifd.start();
  if (!isKernels(guest)) await verb(dom0, 'release', guest.vif);
  await ping(guest);
  return guest;
}

async function verb(dom0: Dom0, ...args: string[]): Promise<string> {
  const { code, output } = await dom0.vifd.verb(...args);
  assert.equal(code, 0, `vifd ${args.join(' ')}: ${output}`);
  return output;
}

function isKernels({ domid }: Guest): boolean {
  return existsSync(`/sys/bus/xen-backend/drivers/vif/vif-${domid}-0`);
}

interface SetUp {
  readonly bridge: string;
  readonly mac: string;
  readonly mtu: number;
  readonly flags: string;
  readonly isolated: string;
}

/** Waits a moment: systemd-udevd may give a new tap another address, which vifd reverts (lib/ports/tap-link.ts). */
async function assertKept(guest: Guest, before: SetUp): Promise<void> {
  const isKept = async () => isDeepStrictEqual(await setUp(guest), before);
  await until('the interface is set up as before', isKept, 10_000).catch(async () =>
    assert.deepEqual(await setUp(guest), before),
  );
}

async function setUp(guest: Guest): Promise<SetUp> {
  const folder = `/sys/class/net/${guest.vif}`;
  const text = async (file: string) => (await readFile(`${folder}/${file}`, 'utf8')).trim();
  return {
    bridge: (await readlink(`${folder}/master`)).split('/').at(-1) ?? '',
    mac: await text('address'),
    mtu: Number(await text('mtu')),
    flags: await text('flags'),
    isolated: (await readFile(portFlag(guest), 'utf8')).trim(),
  };
}

function portFlag({ vif }: Guest): string {
  return `/sys/class/net/${vif}/brport/${FLAG}`;
}
