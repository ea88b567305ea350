import { afterEach, describe, expect, it } from 'vitest';
import { RING_REQ_PROD, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } from '../../lib/protocol/netif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { MACHINES, modelMachine, xensimMissing } from '../../worlds/model/machine.js';
import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const GSO_EXTRA = 1;
const MORE = 1 << 8;

/** Everything a TX ring can hold that must stop the vif, and the reason it gives. */
const ATTACKS: ReadonlyArray<readonly [what: string, reason: RegExp, attack: (guest: RawGuest) => void]> = [
  ['an index beyond the ring', /req_prod is beyond the ring/, (guest) => raise(guest, 257)],
  ['an index that runs backwards', /req_prod is beyond the ring/, (guest) => raise(guest, -1)],
  [
    'a slot that crosses its page',
    /slot crosses a page/,
    (guest) => guest.send([{ offset: 4090, size: 60 }]),
  ],
  [
    'a later slot that crosses its page',
    /slot crosses a page/,
    (guest) =>
      guest.send([
        { size: 5000, flags: TX_FLAG_MORE_DATA },
        { offset: 1, size: 4096 },
      ]),
  ],
  ['a grant that is not there', /bad grant reference 999999/, (guest) => guest.send([{ ref: 999_999 }])],
  ['a grant that is ended', /bad grant reference/, (guest) => guest.send([{ ref: ended(guest) }])],
  ['an endless chain of extras', /extra info repeats/, (guest) => guest.send(extras(20))],
  ['an endless chain of slots', /too many slots/, (guest) => guest.send(chain(25))],
  ['a chain that ends with the ring', /frame is incomplete/, (guest) => guest.send(chain(3))],
  [
    'an extra that does not come',
    /frame is incomplete/,
    (guest) => guest.send([{ flags: TX_FLAG_EXTRA_INFO }]),
  ],
  [
    'an extra of unknown type',
    /unknown type/,
    (guest) => guest.send([{ flags: TX_FLAG_EXTRA_INFO }, { words: [9, 0, 0] }]),
  ],
  ['GSO with segments of no size', /segment size is zero/, (guest) => guest.send(gso(0, 1))],
  ['GSO of unknown type', /GSO type is unknown/, (guest) => guest.send(gso(1448, 7))],
];

function raise(guest: RawGuest, by: number): void {
  guest.tx[RING_REQ_PROD] += by;
  guest.notify();
}

function ended(guest: RawGuest): number {
  const ref = guest.pages.grant(9, 0, 'read');
  guest.pages.end(ref);
  return ref;
}

function chain(slots: number): TxSlot[] {
  return Array.from({ length: slots }, () => ({ size: 60, flags: TX_FLAG_MORE_DATA }));
}

function extras(count: number): TxSlot[] {
  return [
    { flags: TX_FLAG_EXTRA_INFO },
    ...Array.from({ length: count }, () => ({ words: [GSO_EXTRA | MORE | (1448 << 16), 1, 0] as const })),
  ];
}

function gso(size: number, type: number): TxSlot[] {
  return [{ flags: TX_FLAG_EXTRA_INFO }, { words: [GSO_EXTRA | (size << 16), type, 0] }];
}

const CASES = MACHINES.flatMap(([name, make]) =>
  (['copy', 'map'] as const).map((payload) => [payload, name, make] as const),
);

if (xensimMissing !== undefined) it.skip(`hostile guests on the addon: ${xensimMissing}`, () => {});

describe.each(CASES)('a hostile guest, payload by %s, on %s', (payload, _name, machine) => {
  let world: World;
  afterEach(() => world.close());

  it.each(ATTACKS)('with %s is stopped with a reason, and others continue', async (_what, reason, attack) => {
    world = await World.open(machine());
    const [bad, good] = [await world.guest(6), await world.guest(7)];
    await world.start(payload, [bad, good]);
    attack(bad);
    await world.settle();

    expect(world.netback.vifs.get('vif6.0')).toMatchObject({
      state: 'stopped',
      reason: expect.stringMatching(reason),
    });
    expect(world.errors).toHaveLength(1);
    expect(world.errors[0]).toMatchObject({ code: 'ERR_PROTOCOL', vif: 'vif6.0' });
    expect(world.errors[0]?.message).toMatch(/^vif6\.0 stopped until its guest connects again: /);
    good.send([{ size: 60 }]);
    await world.settle();
    expect(world.netback.vifs.get('vif7.0')?.state).toBe('connected');
    expect(world.ports.get('vif7.0')?.written).toHaveLength(1);
    expect(good.txResponses()).toEqual([{ id: 0, status: 0 }]);
  });

  it('is served again when it connects anew', async () => {
    world = await World.open(machine());
    const guest = await world.guest(6);
    await world.start(payload, [guest]);
    raise(guest, 300);
    await world.settle();
    expect(world.netback.vifs.get('vif6.0')?.state).toBe('stopped');
    const state = '/local/domain/6/device/vif/0/state';
    await world.settled(world.toolstack.store.write(state, '1'));
    expect(world.netback.vifs.get('vif6.0')?.state).toBe('waiting');
    const reborn = await world.guest(6);
    await world.settled(reborn.connect(world.toolstack));
    await world.settle();
    reborn.send([{ size: 60 }]);
    await world.settle();
    expect(world.netback.vifs.get('vif6.0')?.state).toBe('connected');
    expect(reborn.txResponses()).toEqual([{ id: 0, status: 0 }]);
  });

  it('with a bad receive buffer gets the error as a response, and is stopped', async () => {
    world = await World.open(machine());
    const guest = await world.guest(6);
    await world.start(payload, [guest]);
    guest.post([123_456]);
    world.ports.get('vif6.0')?.put(new Uint8Array(60));
    await world.settle();
    expect(guest.rxResponses()).toEqual([{ id: 0, offset: 0, flags: 0, status: -1 }]);
    expect(world.netback.vifs.get('vif6.0')?.reason).toMatch(/bad grant reference in a receive buffer/);
  });

  it('with rings that are not granted is refused', async () => {
    world = await World.open(machine());
    const guest = await world.guest(6);
    await world.settled(guest.connect(world.toolstack, { 'tx-ring-ref': '77777' }));
    await world.start(payload, []);
    expect(world.netback.vifs.get('vif6.0')).toMatchObject({
      state: 'stopped',
      reason: expect.stringMatching(/77777/),
    });
  });

  it.each([
    ['tx-ring-ref', 'many'],
    ['request-rx-copy', '0'],
    ['multi-queue-num-queues', '64'],
    ['event-channel', '-1'],
  ])('with %s = %s in the store is refused by that name', async (key, value) => {
    world = await World.open(machine());
    const guest = await world.guest(6);
    await world.settled(guest.connect(world.toolstack, { [key]: value }));
    await world.start(payload, []);
    expect(world.netback.vifs.get('vif6.0')).toMatchObject({
      state: 'stopped',
      reason: expect.stringContaining(key),
    });
  });
});

describe.each(['copy', 'map'] as const)('a guest whose domain is gone, payload by %s', (payload) => {
  it('has broken nothing: what is left of its requests is refused, and its vif stays until its node goes', async () => {
    const hypervisor = new ModelHypervisor();
    const world = await World.open(modelMachine(hypervisor));
    const guest = await world.guest(6);
    await world.start(payload, [guest]);
    hypervisor.store.release(6);
    guest.send([{ ref: 999_999 }]);
    guest.post([123_456]);
    world.ports.get('vif6.0')?.put(new Uint8Array(60));
    await world.settle();
    expect(world.errors).toEqual([]);
    expect(world.netback.vifs.get('vif6.0')).toMatchObject({
      state: 'connected',
      stats: { toGuest: { errors: 1 } },
    });
    expect(guest.txResponses()).toEqual([{ id: 0, status: -1 }]);
    expect(guest.rxResponses()).toEqual([{ id: 0, offset: 0, flags: 0, status: -1 }]);
    await world.close();
  });
});
