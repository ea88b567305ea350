/** Toolstacks and administrators (xenstore-write) that write the keys of a vif one by one, in any order, without transactions. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ToolstackWorld } from './toolstack-world.js';

const GUEST = 7;

interface Order {
  /** Which key comes next: of the toolstack's that are left, by its index. */
  readonly picks: readonly number[];
  /** How long after each write, in ms of the model; 0: at once, -1: in the same turn as the next. */
  readonly pauses: readonly number[];
  /** After how many of the toolstack's writes, at least, the guest begins. */
  readonly guestAfter: number;
  readonly script: boolean;
}

const PAUSES = [-1, -1, -1, 0, 0, 1, 60, 300];

const order: fc.Arbitrary<Order> = fc.record({
  picks: fc.array(fc.nat(), { minLength: 16, maxLength: 16 }),
  pauses: fc.array(fc.constantFrom(...PAUSES), { minLength: 32, maxLength: 32 }),
  guestAfter: fc.nat(16),
  script: fc.boolean(),
});

/** Resolves when all keys are written and vifd has looked at them. */
async function write(world: ToolstackWorld, { picks, pauses, guestAfter, script }: Order) {
  const [back, front] = [world.node(GUEST), world.frontend(GUEST)];
  const left: [string, string][] = [
    [`${back}/frontend`, front],
    [`${back}/frontend-id`, `${GUEST}`],
    [`${back}/online`, '1'],
    [`${back}/state`, '1'],
    [`${back}/handle`, '0'],
    [`${back}/mac`, '00:16:3e:00:00:07'],
    [`${back}/bridge`, 'xenbr0'],
    ...(script
      ? ([
          [`${back}/script`, '/etc/xen/scripts/vif-bridge'],
          [`${back}/hotplug-status`, 'connected'],
        ] as [string, string][])
      : []),
    [`${front}/backend`, back],
    [`${front}/backend-id`, `${world.backendDomid}`],
    [`${front}/state`, '1'],
    [`${front}/handle`, '0'],
    [`${front}/mac`, '00:16:3e:00:00:07'],
  ];
  const guest = await world.guest(GUEST);
  const ofGuest = Object.entries({ ...guest.offer(), 'request-rx-copy': '1', 'feature-sg': '1', state: '4' });
  let [written, frontendIsThere, writes] = [0, false, 0];
  while (left.length > 0 || ofGuest.length > 0) {
    const guestBegins = frontendIsThere && written >= Math.min(guestAfter, picks.length - 3);
    const isGuests = ofGuest.length > 0 && (left.length === 0 || (guestBegins && writes % 2 === 0));
    const [path, value] = isGuests
      ? ([`${front}/${ofGuest[0][0]}`, ofGuest.shift()![1]] as const)
      : left.splice(picks[written++ % picks.length] % left.length, 1)[0];
    if (path === `${front}/state`) frontendIsThere = true;
    const store = isGuests ? guest.xen.store : world.store;
    const asked = store.write(path, value);
    const pause = pauses[writes++ % pauses.length];
    if (pause >= 0) await world.hypervisor.advance(pause);
    if (pause >= 0) await asked;
    else asked.catch(() => {});
  }
  await world.hypervisor.advance(2000);
  return guest;
}

async function folders(world: ToolstackWorld): Promise<void> {
  await world.makeGuest(GUEST);
  // What xenstore-chmod does for a vif that is made by hand.
  const ends = [
    [world.node(GUEST), world.backendDomid, GUEST],
    [world.frontend(GUEST), GUEST, world.backendDomid],
  ] as const;
  for (const [path, owner, reader] of ends) {
    await world.settled(world.store.mkdir(path));
    await world.settled(
      world.store.setPermissions(path, [
        { domid: owner, access: 'none' },
        { domid: reader, access: 'read' },
      ]),
    );
  }
}

describe.each([
  ['dom0', 0],
  ['a driver domain', 5],
])('a backend in %s', (_where, backendDomid) => {
  it('serves a vif whose keys come one by one in any order, and reports nothing meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(order, async (how) => {
        const world = await new ToolstackWorld(backendDomid).open();
        await folders(world);
        const guest = await write(world, how);
        expect(world.errors).toEqual([]);
        expect(await world.state(GUEST)).toBe('4');
        const vif = world.netback.vifs.get('vif7.0');
        expect(vif).toMatchObject({ state: 'connected', mac: '00:16:3e:00:00:07', bridge: 'xenbr0' });
        guest.send([{ size: 60 }]);
        await world.hypervisor.settle();
        expect(world.port('vif7.0').written).toHaveLength(1);
        await world.close();
      }),
      { numRuns: Number(process.env.VIFD_KEYS ?? 60) },
    );
  });
});

it('makes a tap anew for a bridge that is named after the rest, where no script puts it there', async () => {
  const world = await new ToolstackWorld().open();
  const [back, front] = [world.node(GUEST), world.frontend(GUEST)];
  for (const [path, value] of [
    [`${front}/state`, '1'],
    [`${back}/frontend`, front],
    [`${back}/state`, '1'],
  ])
    await world.write(path, value);
  const first = world.port('vif7.0');
  await world.write(`${back}/bridge`, 'xenbr1');
  expect(first.removed).toBe(true);
  expect(world.ports.get('vif7.0')).toHaveLength(2);
  await world.write(`${back}/script`, 'vif-bridge');
  await world.write(`${back}/bridge`, 'xenbr0');
  expect(world.ports.get('vif7.0')).toHaveLength(2);
  expect(world.netback.vifs.get('vif7.0')?.bridge).toBe('xenbr0');
  await world.close();
});
