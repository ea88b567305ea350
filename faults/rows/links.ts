import { setTimeout as sleep } from 'node:timers/promises';
import { addon } from '../../lib/addon.js';
import { ip } from '../../worlds/processes/bridge.js';
import { Child, command, enter, GUARD } from '../../worlds/processes/children.js';
import { promised } from '../../worlds/processes/wait.js';
import { COPY, ONE_BY_ONE, type Row } from '../row.js';
import { type FaultWorld, NEIGHBOUR_BRIDGE, VICTIM_BRIDGE } from '../world/fault-world.js';

const kind = 'links';
const setting = COPY;
const BRIDGE = VICTIM_BRIDGE.name;
const OTHER_BRIDGE = NEIGHBOUR_BRIDGE.name;
const SERVED_MS = 2000;
const SETTLED_MS = 500;

async function run(...words: string[]): Promise<void> {
  await ip(...words);
}

/** A process in a network namespace of its own, for an interface to be moved into. */
async function elsewhere(): Promise<Child> {
  const inside = promised();
  const child = await Child.start({
    name: 'another namespace',
    command: ['unshare', '--net', '--', ...GUARD, 'sh', '-c', 'echo inside; exec sleep infinity'],
    onLine: inside.keep,
  });
  await inside.done;
  return child;
}

/** Host and guest are in this bridge, and each knows the address of the other. */
async function meet({ victim }: FaultWorld, bridge: string): Promise<void> {
  const { address, mac } = victim.plan;
  const own = bridge === BRIDGE ? VICTIM_BRIDGE : NEIGHBOUR_BRIDGE;
  const gateway = [VICTIM_BRIDGE.address, 'lladdr', own.mac];
  const inside = [...enter(victim.pid), 'ip'];
  await run('neighbour', 'replace', address, 'lladdr', mac, 'dev', bridge, 'nud', 'permanent');
  await run('route', 'replace', `${address}/32`, 'dev', bridge, 'src', VICTIM_BRIDGE.address);
  await command(...inside, 'neighbour', 'replace', ...gateway, 'dev', 'eth0', 'nud', 'permanent');
}

/** A cause that exists when the victim's vif is made, and its end. */
function whenMade(
  name: string,
  line: Row['line'],
  before: (world: FaultWorld) => unknown,
  mend: Row['mend'],
): Row {
  return {
    name,
    kind,
    setting,
    line,
    inject: async (world) => {
      await world.victim.unplug();
      await before(world);
      return world.victim.plug();
    },
    mend,
  };
}

/** Sends datagrams of many flows, so that each of the guest's queues has frames. The guest's replies to pings use one queue. */
async function sendByAllQueues({ victim }: FaultWorld): Promise<void> {
  const send = `for i in {1..12}; do echo >/dev/udp/${VICTIM_BRIDGE.address}/$((5000 + i)); done`;
  await command(...enter(victim.pid), 'bash', '-c', send);
}

let holder: { close(): void } | undefined;
let namespace: Child | undefined;

export const linkRows: readonly Row[] = [
  {
    name: 'tap deleted',
    kind,
    setting,
    line: { cause: /deleted|gone/, remedy: /makes it anew/ },
    mendsItself: true,
    inject: ({ victim }) => run('link', 'delete', victim.vif),
    mend: () => undefined,
    short: true,
  },
  {
    name: 'tap deleted while xenstored is away',
    kind,
    setting,
    loads: true,
    line: { cause: /deleted|gone/, remedy: /makes it anew/ },
    mendsItself: true,
    inject: async (world) => {
      const { nodes } = await world.xenstored.state();
      world.removed = nodes;
      await world.xenstored.kill();
      await sleep(SETTLED_MS);
      const deletedMs = Date.now();
      await run('link', 'delete', world.victim.vif);
      // Frames do not need the store.
      const served = await world.victim.pings.servedAfter(deletedMs, SERVED_MS);
      if (served === undefined) throw new Error('the guest is not served while xenstored is away');
      return deletedMs;
    },
    mend: ({ xenstored, removed }) => xenstored.start(removed),
  },
  {
    name: 'tap deleted while xenstored is away: ENFILE',
    kind,
    setting,
    loads: true,
    line: { cause: /ENFILE/, remedy: /file-max|descriptors/ },
    inject: async (world) => {
      const { nodes } = await world.xenstored.state();
      world.removed = nodes;
      await world.xenstored.kill();
      await sleep(SETTLED_MS);
      world.inject.system('open', { errno: 'ENFILE', match: '/dev/net/tun' });
      await run('link', 'delete', world.victim.vif);
    },
    mend: async ({ inject, victim, xenstored, removed }) => {
      inject.system('open', undefined);
      const served = await victim.pings.servedAfter(Date.now(), SERVED_MS);
      await xenstored.start(removed);
      if (served === undefined) throw new Error('the guest is not served while xenstored is away');
    },
  },
  {
    name: 'tap set down',
    kind,
    setting,
    line: { cause: /down/, remedy: /ip link set (dev )?vif7\.0 up/ },
    inject: ({ victim }) => run('link', 'set', victim.vif, 'down'),
    mend: ({ victim }) => run('link', 'set', victim.vif, 'up'),
  },
  {
    name: 'tap taken out of its bridge',
    kind,
    setting,
    line: { cause: /out of br0/, remedy: /ip link set (dev )?vif7\.0 master br0/ },
    inject: ({ victim }) => run('link', 'set', victim.vif, 'nomaster'),
    mend: ({ victim }) => run('link', 'set', victim.vif, 'master', BRIDGE),
  },
  {
    name: 'tap moved into another bridge',
    kind,
    setting,
    // An administrator did this, and it disconnects nothing: vifd serves the guest there.
    line: 'nothing to report',
    inject: async (world) => {
      await run('link', 'set', world.victim.vif, 'master', OTHER_BRIDGE);
      await meet(world, OTHER_BRIDGE);
      const served = await world.victim.pings.servedAfter(Date.now(), SERVED_MS);
      if (served === undefined) throw new Error(`the guest is not served in ${OTHER_BRIDGE}`);
    },
    mend: async (world) => {
      await run('link', 'set', world.victim.vif, 'master', BRIDGE);
      await meet(world, BRIDGE);
      // vifd reads an interface when its changes are over: the next row must not meet one of these.
      await sleep(SETTLED_MS);
    },
    tidy: ({ victim }) => run('route', 'delete', `${victim.plan.address}/32`),
  },
  {
    name: 'bridge deleted, and made again',
    kind,
    setting,
    line: { cause: /br0.*deleted/, remedy: /ip link add br0/ },
    // The fault changes before it ends: the bridge exists, and the tap joins it.
    mended: /vif7\.0: mended: .*br0/,
    inject: () => run('link', 'delete', BRIDGE),
    mend: (world) => world.makeVictimBridge(),
  },
  {
    name: 'bridge set down',
    kind,
    setting,
    line: { cause: /br0.*down/, remedy: /ip link set (dev )?br0 up/ },
    inject: () => run('link', 'set', BRIDGE, 'down'),
    mend: async ({ victim }) => {
      await run('link', 'set', BRIDGE, 'up');
      await victim.knownToHost();
    },
  },
  whenMade(
    'bridge missing when a vif is made',
    { cause: /br0.*ENODEV/, remedy: /ip link add br0/ },
    () => run('link', 'delete', BRIDGE),
    (world) => world.makeVictimBridge(),
  ),
  whenMade(
    "tap's name taken by another interface",
    { cause: /EINVAL/, remedy: /delete or rename/ },
    ({ victim }) => run('link', 'add', victim.vif, 'type', 'veth', 'peer', 'name', 'taken'),
    ({ victim }) => run('link', 'delete', victim.vif),
  ),
  whenMade(
    'tap open in another process: EBUSY',
    { cause: /EBUSY/, remedy: /another process has it open/ },
    ({ victim }) => {
      const tap = addon().openTap(victim.vif, undefined, false);
      if ('failed' in tap) throw new Error(`the tap cannot be opened: ${tap.failed}`);
      holder = tap;
    },
    () => holder?.close(),
  ),
  {
    name: 'tap renamed',
    kind,
    setting,
    // vifd knows the interface by its index, not by its name.
    line: 'nothing to report',
    inject: async ({ victim }) => {
      await run('link', 'set', victim.vif, 'down');
      await run('link', 'set', victim.vif, 'name', 'lan7');
      await run('link', 'set', 'lan7', 'up');
    },
    mend: async ({ victim }) => {
      await run('link', 'set', 'lan7', 'down');
      await run('link', 'set', 'lan7', 'name', victim.vif);
      await run('link', 'set', victim.vif, 'up');
    },
  },
  {
    name: 'tap moved to another network namespace',
    kind,
    setting,
    // An administrator did this, and it disconnects nothing: vifd serves the guest there as soon as the tap is set up.
    line: 'nothing to report',
    inject: async ({ victim }) => {
      namespace = await elsewhere();
      const inside = enter(namespace.pid);
      const there = (...words: string[]) => command(...inside, 'ip', ...words);
      const { address, mac } = VICTIM_BRIDGE;
      await run('link', 'set', victim.vif, 'netns', String(namespace.pid));
      await there('link', 'add', BRIDGE, 'address', mac, 'type', 'bridge');
      await there('address', 'add', `${address}/24`, 'dev', BRIDGE);
      await there('link', 'set', BRIDGE, 'up');
      await there('link', 'set', victim.vif, 'master', BRIDGE, 'up');
      await command(...inside, 'ping', '-n', '-c', '1', '-w', '2', victim.plan.address);
    },
    mend: async ({ victim }) => {
      const { pid } = namespace as Child;
      await command(...enter(pid), 'ip', 'link', 'set', victim.vif, 'netns', String(process.pid));
      await run('link', 'set', victim.vif, 'master', BRIDGE, 'up');
    },
    tidy: async () => {
      await namespace?.end('SIGKILL');
    },
  },
  {
    name: "tap's carrier switched off",
    kind,
    setting,
    line: { cause: /carrier/, remedy: /carrier on/ },
    inject: ({ victim }) => run('link', 'set', victim.vif, 'carrier', 'off'),
    mend: ({ victim }) => run('link', 'set', victim.vif, 'carrier', 'on'),
  },
  {
    name: "tap's bridge port disabled",
    kind,
    setting,
    line: { cause: /port.*(disabled|blocked|forward)/, remedy: /bridge link set/ },
    inject: async ({ victim }) =>
      void (await command('bridge', 'link', 'set', 'dev', victim.vif, 'state', '0')),
    mend: async ({ victim }) =>
      void (await command('bridge', 'link', 'set', 'dev', victim.vif, 'state', '3')),
  },
  {
    name: 'writing into the tap: ENOBUFS',
    kind,
    setting: ONE_BY_ONE,
    line: { cause: /ENOBUFS/, remedy: /memory|tried again|tries again|dropped/ },
    inject: async (world) => {
      const { inject, victim } = world;
      inject.system('write', { errno: 'ENOBUFS', match: victim.vif });
      const injectedMs = Date.now();
      await sendByAllQueues(world);
      return injectedMs;
    },
    mend: ({ inject }) => inject.system('write', undefined),
  },
  {
    name: 'reading from the tap: ENOMEM',
    kind,
    setting,
    line: { cause: /ENOMEM/, remedy: /memory|tried again|tries again/ },
    inject: ({ inject, victim }) => inject.system('read', { errno: 'ENOMEM', match: victim.vif }),
    mend: ({ inject }) => inject.system('read', undefined),
  },
  {
    name: 'MTU of the tap changed',
    kind,
    setting,
    line: 'nothing to report',
    inject: ({ victim }) => run('link', 'set', victim.vif, 'mtu', '1400'),
    mend: ({ victim }) => run('link', 'set', victim.vif, 'mtu', '1500'),
  },
];
