/** How many requests xenstored gets for each event of a vif: each costs its one thread, and a guest that connects waits for them. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Netfront } from '../../lib/testing/netfront/netfront.js';
import { StoreSession } from '../../lib/testing/xenstored/session.js';
import { BACKEND, DriverDomain } from './driver-domain-world.js';

const GUEST = 7;
const REQUESTS = ['read', 'list', 'write', 'begin', 'end', 'watch', 'unwatch'] as const;

let world: DriverDomain;

beforeEach(async () => {
  world = await new DriverDomain().open();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await world.close();
});

/** The requests of the backend meanwhile. */
async function requestsOf(happens: () => Promise<unknown>): Promise<Record<string, number>> {
  const spies = REQUESTS.map((name) => [name, vi.spyOn(StoreSession.prototype, name)] as const);
  await happens();
  await world.hypervisor.advance(1000);
  const counted = spies.map(([name, spy]) => {
    const count = spy.mock.contexts.filter((session) => (session as StoreSession).domid === BACKEND).length;
    spy.mockRestore();
    return [name, count] as const;
  });
  return Object.fromEntries(counted.filter(([, count]) => count > 0));
}

async function served(): Promise<Netfront> {
  await world.addVif(GUEST);
  return world.connectFront(GUEST);
}

const touch = (path: string, value: string) => () => world.settled(world.toolstack.store.write(path, value));

it('a new vif: its keys once, and the offer in one transaction', async () => {
  expect(await requestsOf(() => world.addVif(GUEST))).toEqual({
    ...{ read: 15, list: 2, write: 14 },
    ...{ begin: 1, end: 1, watch: 2 },
  });
});

it('a guest that connects: its keys that are there, once', async () => {
  await world.addVif(GUEST);
  expect(await requestsOf(() => world.connectFront(GUEST))).toEqual({
    ...{ read: 18, list: 1, write: 1 },
    ...{ begin: 1, end: 1 },
  });
});

it.each([
  ['a key that the backend wrote', 'feature-sg', {}],
  ['what vifd notes of itself', 'vifd/attached', {}],
  ['a key that no backend knows', 'strange', {}],
  ['the rate', 'rate', { read: 1 }],
  ['whether the hotplug script has run', 'hotplug-status', { read: 1 }],
  ['its state, by another', 'state', { read: 1 }],
])('below a connected vif’s node, %s', async (_what, key, requests) => {
  await served();
  const values: Record<string, string> = { state: '4', rate: '1000000,50000' };
  expect(await requestsOf(touch(`${world.node(GUEST)}/${key}`, values[key] ?? '1'))).toEqual(requests);
});

it.each([
  ['a key that vifd does not read', 'other', {}],
  ['whether it wants multicast by list', 'request-multicast-control', { read: 1 }],
  ['its state: all its keys, since it may be another connection', 'state', { read: 15, list: 1 }],
])('a connected guest writes %s', async (_what, key, requests) => {
  await served();
  const write = touch(`${world.frontend(GUEST)}/${key}`, key === 'state' ? '4' : '1');
  expect(await requestsOf(write)).toEqual(requests);
});

it('a node that is no vif yet: that node alone, however many domains there are', async () => {
  for (const domid of [10, 11, 12]) await world.addVif(domid);
  const path = `${world.node(GUEST)}/x`;
  await world.settled(
    world.toolstack.store.transaction(async (view) => {
      await view.mkdir(world.node(GUEST));
      await view.setPermissions(world.node(GUEST), [{ domid: BACKEND, access: 'none' }]);
    }),
  );
  await world.hypervisor.settle();
  expect(await requestsOf(touch(path, '1'))).toEqual({ read: 5 });
});

it('a start with a connected vif: once each, and nothing twice', async () => {
  await served();
  world.kill();
  expect(await requestsOf(() => world.start())).toEqual({ read: 23, list: 4, watch: 3 });
  expect(world.attached).toEqual(['vif7.0']);
});
