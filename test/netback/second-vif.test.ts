/** A second vif of a guest is removed and created again, many times, while frames pass in the first. */
import { afterEach, describe, expect, it } from 'vitest';
import { createVif } from '../../lib/testing/netfront/toolstack.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { ToolstackWorld } from './toolstack-world.js';

const GUEST = 7;
const PATIENT = { timeout: 120_000 };

let world: ToolstackWorld;
let first: RawGuest;
let sent: number;
afterEach(() => world.close());

async function open(backendDomid: number): Promise<void> {
  world = await new ToolstackWorld(backendDomid).open();
  await world.addVif(GUEST, 0);
  first = await world.connect(GUEST, 0);
  first.post(Array.from({ length: 200 }, (_, page) => first.ref(page)));
  sent = 0;
}

/** One frame each way in the vif that stays. */
function traffic(): void {
  first.send([{ size: 60 }]);
  world.port('vif7.0').put(new Uint8Array(60).fill(sent));
  sent++;
}

async function expectNothingLost(): Promise<void> {
  await world.hypervisor.advance(1000);
  expect(world.port('vif7.0').written).toHaveLength(sent);
  expect(world.ports.get('vif7.0')).toHaveLength(1);
  expect(first.rxResponses().filter(({ status }) => status === 60)).toHaveLength(sent);
  expect(world.detached.filter(([id]) => id === 'vif7.0')).toEqual([]);
  expect(world.errors).toEqual([]);
}

function expectNothingLeft(): void {
  expect([...world.netback.vifs.keys()]).toEqual(['vif7.0']);
  expect(world.watches).toBe(3);
  expect(world.journals.names('vif7.1')).toEqual([]);
  for (const port of world.ports.get('vif7.1')!) expect(port.removed).toBe(true);
}

const create = () =>
  createVif(world.store, {
    domid: GUEST,
    handle: 1,
    backendDomid: world.backendDomid,
    mac: '00:16:3e:00:00:08',
  });
const both = () => [world.node(GUEST, 1), world.frontend(GUEST, 1)];

/** How a toolstack ends a vif and begins the next, which is there once this resolves. */
const WAYS: [string, (turn: number) => Promise<void>][] = [
  [
    'is detached in order and attached at once',
    async () => {
      const asked = world.store.transaction(async (view) => {
        await view.write(`${both()[0]}/online`, '0');
        await view.write(`${both()[0]}/state`, '5');
      });
      await world.settled(asked);
      await world.hypervisor.settle();
      expect(await world.state(GUEST, 1)).toBe('6');
      const removed = Promise.all(both().map((path) => world.store.rm(path)));
      await world.settled(Promise.all([removed, create()]));
    },
  ],
  [
    'is replaced in one transaction',
    async () => {
      await world.settled(create());
    },
  ],
  [
    'is removed without a word, and made anew while its removal is under way',
    async (turn) => {
      const removed = world.store.transaction(async (view) => {
        for (const path of both()) await view.rm(path);
      });
      // After 0 to 24 microtasks: at each step of the removal.
      for (let step = 0; step < turn % 25; step++) await undefined;
      await world.settled(Promise.all([removed, create()]));
    },
  ],
  [
    'is asked to close, and made anew before it has',
    async (turn) => {
      const asked = world.store.transaction(async (view) => {
        await view.write(`${both()[0]}/online`, '0');
        await view.write(`${both()[0]}/state`, '5');
      });
      for (let step = 0; step < turn % 25; step++) await undefined;
      await world.settled(Promise.all([asked, create()]));
    },
  ],
];

describe.each(WAYS)('a second vif that %s', (_how, again) => {
  it.each([
    [100, 'dom0', 0],
    [25, 'a driver domain', 5],
  ])(
    'is served each of %i times in %s, the first one loses nothing, and nothing is left',
    PATIENT,
    async (times, _where, domid) => {
      await open(domid);
      await world.settled(create());
      for (let turn = 0; turn < times; turn++) {
        traffic();
        // The guest's driver does not connect each time.
        if (turn % 5 === 0) {
          const second = await world.connect(GUEST, 1);
          second.send([{ size: 60 }]);
          // A guest's connections are paced: 16, and one more every 2 s.
          await world.hypervisor.advance(2500);
          expect(await world.state(GUEST, 1)).toBe('4');
          expect(world.port('vif7.1').written).toHaveLength(1);
        }
        traffic();
        await again(turn);
        await world.hypervisor.settle();
        // Looks beyond the guest's budget wait.
        await world.hypervisor.advance(1000);
        expect(await world.state(GUEST, 1)).toBe('2');
      }
      expect(world.watches).toBe(5);
      await world.remove(GUEST, 1, { force: true });
      if (domid !== 0) await world.rm(world.node(GUEST, 1));
      await expectNothingLost();
      expectNothingLeft();
    },
  );
});
