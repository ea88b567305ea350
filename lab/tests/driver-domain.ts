import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { DRIVE, driverDomain, STEPS } from '../drive/driver-domain.js';
import { Guest } from '../drive/guest.js';
import { must, run, sleep, until } from '../drive/process.js';
import { blocksOf } from '../drive/readme.js';
import { serve } from '../drive/traffic.js';
import { healthOf } from '../drive/witness.js';
import { xl } from '../drive/xl.js';
import { type Dom0, Skip, type Test } from './harness.js';
import { portsOf } from './leftovers.js';

/** vifd as the backend in a domain that is not dom0, installed by the README's steps. */
export const driverDomainTests: Test[] = [
  {
    name: 'README, "In a driver domain": every step, as it stands there',
    boot: 'driver-domain',
    seconds: 400,
    run: async (dom0) => void (await served(dom0)),
  },
  {
    name: 'in a driver domain: kills and a restart under TCP both ways: no reset, each byte as it was sent',
    boot: 'driver-domain',
    seconds: 150,
    run: killed,
  },
  {
    name: "in a driver domain: released to its kernel's xen-netback and adopted again under TCP: no reset",
    boot: 'driver-domain',
    seconds: 150,
    run: handedOver,
  },
  {
    name: 'in a driver domain: xl network-detach and network-attach, nothing is left between',
    boot: 'driver-domain',
    run: detachedAndAttached,
  },
  {
    name: 'in a driver domain: xl destroy, of which vifd sees EACCES: nothing is left there or in dom0',
    boot: 'driver-domain',
    run: destroyed,
  },
  {
    name: 'in a driver domain: xl destroy while vifd is away: the next process cleans up',
    boot: 'driver-domain',
    run: destroyedWhileAway,
  },
];

const HEADING = 'In a driver domain';
const PLACE = '/run/steps';
/** On the bridge of the driver domain. */
const ENDPOINT = '10.77.0.1';
/** How long a step of the README takes, in a domain with one emulated processor. */
const STEP_MS = 180_000;

interface World {
  /** The driver domain. */
  readonly domain: Guest;
  readonly guest: Guest;
}

/** Follows the README's steps, unless a test of this boot has done so, and waits until the guest is served. */
async function served(dom0: Dom0): Promise<World> {
  const [asDomain = '', asGuest = ''] = blocksOf(HEADING, '');
  const vif = /'(backend=(\w+),[^']*)'/.exec(asGuest);
  assert.ok(vif?.[1] !== undefined && vif[2] !== undefined, `no vif with a backend in: ${asGuest}`);
  const [, spec, name] = vif;
  const isNew = (await Guest.find(name)) === undefined;
  const domain = await driverDomain(name, asDomain);
  if (isNew) await takeSteps(dom0, domain, spec);
  const guest = await Guest.running('g1', [], [spec]);
  await until('the backend is Connected', async () => (await listed(domain))[0]?.backend === 'Connected');
  await domain.exec(`ping -c 3 -i 0.2 -w 20 ${guest.address}`);
  return { domain, guest };
}

async function takeSteps(dom0: Dom0, domain: Guest, spec: string): Promise<void> {
  if ((await domain.exec('npm --version || echo none')) === 'none')
    throw new Skip('the domain has no npm: that of the host is not one folder, as with node from nodejs.org');
  await mkdir(PLACE, { recursive: true });
  await writeFile(`${PLACE}/g1.cfg`, await must('guest', 'config', 'g1', spec));
  const steps = blocksOf(HEADING, 'sh');
  assert.equal(steps.filter((step) => /^xl /.test(step)).length, 1, 'one block is for dom0');
  for (const step of steps) {
    const began = performance.now();
    if (/^xl /.test(step)) {
      // The README gives the bridge no address, as it needs none; this test talks to the guest from it.
      await domain.exec(`ip addr add ${ENDPOINT}/24 dev xenbr0`);
      await must('bash', '-c', `cd ${PLACE} && set -ex; ${step}`);
      await must('guest', 'wait', 'g1');
    } else {
      await domain.exec(`cd ${STEPS}; set -ex\n${step}`, STEP_MS);
    }
    dom0.note(`${((performance.now() - began) / 1000).toFixed(0)} s: ${step.trim().split('\n')[0]}`);
  }
  const { checks } = JSON.parse(await domain.exec('vifd check --json')) as { checks: { state: string }[] };
  assert.deepEqual(
    checks.filter(({ state }) => state !== 'ok'),
    [],
    'vifd check',
  );
}

async function listed(domain: Guest): Promise<{ vif: string; backend: string; frontend: string }[]> {
  return JSON.parse(await domain.exec('vifd list --json')).vifs;
}

async function killed(dom0: Dom0): Promise<void> {
  const { domain, guest } = await served(dom0);
  const attached = () => domain.exec(`journalctl -o cat -u vifd | grep -c '^${guest.vif} attached' || true`);
  const before = Number(await attached());
  await underTraffic(dom0, { domain, guest }, 40, async () => {
    for (const how of ['kill -s KILL', 'kill -s KILL', 'restart', 'kill -s KILL']) {
      await sleep(6000);
      const pid = await mainPid(domain);
      await domain.exec(`systemctl ${how} vifd`);
      await until('the next process serves', async () => {
        const state = await domain.exec('systemctl is-active vifd || true');
        return state === 'active' && (await mainPid(domain)) !== pid;
      });
    }
  });
  const lines = await domain.exec(`journalctl -o cat -u vifd | grep '^${guest.vif} attached'`);
  const since = lines.split('\n').slice(before);
  // Workers continue to serve while their supervisor is away.
  const workers = Number(await domain.exec('ls /run/vifd | grep -c ^worker- || true'));
  assert.equal(since.length, workers > 0 ? 1 : 4, lines);
  for (const line of since) assert.match(line, /attached again/);
  assert.match(await domain.exec('vifd show'), new RegExp(`^${guest.vif} +connected$`, 'm'));
}

async function handedOver(dom0: Dom0): Promise<void> {
  const { domain, guest } = await served(dom0);
  await underTraffic(dom0, { domain, guest }, 25, async () => {
    await sleep(3000);
    assert.match(await domain.exec(`vifd release ${guest.vif}`, STEP_MS), /was handed to xen-netback/);
    await domain.exec(`test -e /sys/bus/xen-backend/drivers/vif/vif-${guest.domid}-0`);
    await sleep(5000);
    assert.match(await domain.exec(`vifd adopt ${guest.vif}`, STEP_MS), /was taken over from xen-netback/);
    await domain.exec(`test ! -e /sys/bus/xen-backend/drivers/vif/vif-${guest.domid}-0`);
  });
  // The kernel's driver would take the next vif.
  await domain.exec('rmmod xen-netback');
}

/** Runs TCP between the guest and the driver domain, and `then` meanwhile. The guest must not notice. */
async function underTraffic(
  dom0: Dom0,
  { domain, guest }: World,
  seconds: number,
  then: () => Promise<void>,
): Promise<void> {
  await serve(guest);
  const before = await healthOf(guest);
  const command = `node ${DRIVE}/endpoint.js ${guest.address} ${seconds}`;
  const traffic = domain.exec(command, (seconds + 120) * 1000);
  // Awaited below: a rejection before that is no unhandled one.
  traffic.catch(() => undefined);
  await then();
  const { bytes, lines, gapMs } = JSON.parse(await traffic);
  dom0.note(`${(bytes / 1e6).toFixed(1)} MB there and back, ${lines} lines, longest gap ${gapMs} ms`);
  assert.ok(bytes > 0 && lines > 0, 'nothing passed');
  assert.deepEqual(await healthOf(guest), before, 'the guest noticed');
}

async function mainPid(domain: Guest): Promise<string> {
  return domain.exec('systemctl show --value -p MainPID vifd');
}

async function detachedAndAttached(dom0: Dom0): Promise<void> {
  const { domain, guest } = await served(dom0);
  const mac = await guest.exec('cat /sys/class/net/eth0/address');
  await xl('network-detach', guest.name, '0');
  await assertNothingLeft(dom0, { domain, guest });
  await xl('network-attach', guest.name, `backend=${domain.name}`, 'bridge=xenbr0', `mac=${mac}`);
  await guest.exec('for i in $(seq 50); do [ -e /sys/class/net/eth0 ] && break; sleep 0.2; done');
  await guest.exec(`/bin/ip addr add ${guest.address}/24 dev eth0 && /bin/ip link set eth0 up`);
  await served(dom0);
}

/** `xl destroy` deletes the frontend in the transaction that tells the backend to close; xl must not wait for a timeout. */
async function destroyed(dom0: Dom0): Promise<void> {
  const world = await served(dom0);
  const { domain, guest } = world;
  await serve(guest);
  // The command must fail.
  const traffic = domain.exec(`node ${DRIVE}/endpoint.js ${guest.address} 5`).catch(() => undefined);
  await sleep(3000);
  await xl('destroy', guest.name);
  await assertNothingLeft(dom0, world);
  await assertGone(dom0, world);
  await domain.exec('pkill -f endpoint.js || true');
  await traffic;
}

/** libxl waits 10 s for a backend that does not respond, and removes the nodes itself. */
async function destroyedWhileAway(dom0: Dom0): Promise<void> {
  const world = await served(dom0);
  const { domain, guest } = world;
  await domain.exec('systemctl stop vifd');
  await run('xl', 'destroy', guest.name);
  await domain.exec('systemctl start vifd');
  await assertNothingLeft(dom0, world);
  await assertGone(dom0, world);
}

/** Checks that the guest's vif has no interface, journal or node: neither in the driver domain nor those that its toolstack wrote. */
async function assertNothingLeft({ store }: Dom0, { domain, guest }: World): Promise<void> {
  const left = async () => ({
    vifs: (await listed(domain)).map(({ vif }) => vif),
    files: await domain.exec(
      `cd /; ls -d sys/class/net/vif${guest.domid}.* run/vifd/vif${guest.domid}.* 2>&1 | grep -v 'No such' || true`,
    ),
    nodes: await store.list(`/local/domain/${domain.domid}/backend/vif`),
    frontends: await store.list(`/local/domain/${guest.domid}/device/vif`),
  });
  const nothing = JSON.stringify({ vifs: [], files: '', nodes: [], frontends: [] });
  let seen = '';
  const isEmpty = async () => {
    seen = JSON.stringify(await left());
    return seen === nothing;
  };
  await until('nothing of the vif is left', isEmpty, 20_000).catch(() =>
    assert.equal(seen, nothing, 'what is left'),
  );
}

/** Xen keeps a destroyed domain as long as one of its pages is mapped or one of its ports is bound. */
async function assertGone({ store }: Dom0, { domain, guest }: World): Promise<void> {
  await until(
    `domain ${guest.domid} is gone`,
    async () => (await run('xl', 'list', `${guest.domid}`)).code !== 0,
  );
  assert.equal(await store.read(`/local/domain/${guest.domid}`), undefined);
  const ports = await portsOf(guest.domid, domain.domid);
  assert.deepEqual(ports, [], 'event channels are left');
}
