import { describe, expect, it } from 'vitest';
import { type Admission, Directory, type VifPlace } from '../../lib/netback/vif/directory.js';
import type { Store } from '../../lib/xen/seam.js';
import { TestClock, turns } from '../store/fake-daemon.js';

const ROOT = '/local/domain/0/backend/vif';

/** A directory of these guests with a vif each; `end` or `settle` ends the admission of one. */
class World {
  readonly clock = new TestClock();
  readonly begun: string[] = [];
  readonly directory: Directory;
  readonly #ends = new Map<string, (admission: Admission) => void>();

  constructor(guests: readonly number[], connected: readonly number[] = guests, unreadable?: number) {
    const list = async (path: string) => {
      if (path === `${ROOT}/${unreadable}`) throw new Error('it cannot be listed');
      return path === ROOT ? guests.map(String) : ['0'];
    };
    this.directory = new Directory({
      store: { list } as unknown as Store,
      domid: 0,
      clock: this.clock,
      admit: async ({ id, domid }, connectedOnly) => {
        if (connectedOnly && !connected.includes(domid)) return 'waiting';
        this.begun.push(id);
        return new Promise((resolve) => this.#ends.set(id, resolve));
      },
    });
  }

  async end(id: string, admission: Admission = 'served'): Promise<void> {
    this.settle(id, admission);
    await turns();
  }

  settle(id: string, admission: Admission): void {
    this.#ends.get(id)?.(admission);
  }
}

const ids = (domids: readonly number[]) => domids.map((domid) => `vif${domid}.0`);
const from = (first: number, count: number) => Array.from({ length: count }, (_, n) => first + n);

describe('vifs in the store', () => {
  it('are served at start in this order: those that an earlier process served, then the others', async () => {
    const world = new World([1, 2, 3, 4], [2, 4]);
    const looked = world.directory.look();
    await turns();
    expect(world.begun).toEqual(['vif2.0', 'vif4.0']);
    await world.end('vif2.0');
    expect(world.begun).toHaveLength(2);
    await world.end('vif4.0');
    expect(world.begun).toEqual(['vif2.0', 'vif4.0', 'vif1.0', 'vif3.0']);
    for (const id of ['vif1.0', 'vif3.0']) await world.end(id);
    expect([...(await looked)].sort()).toEqual(ids([1, 2, 3, 4]));
  });

  it('are read a few at a time, and one that takes long delays the others for a moment only', async () => {
    const guests = from(1, 40);
    const world = new World(guests);
    const looked = world.directory.look();
    await turns();
    expect(world.begun).toEqual(ids(guests.slice(0, 16)));
    await world.end('vif3.0');
    expect(world.begun).toEqual(ids(guests.slice(0, 17)));
    await world.clock.advance(100);
    expect(world.begun).toEqual(ids(guests));
    for (const id of ids(guests)) await world.end(id);
    expect((await looked).size).toBe(40);
    expect(world.clock.timers).toBe(0);
  });

  it('new ones wait for a moment only while the port of one that an earlier process served does not open', async () => {
    const world = new World([1, 2], [2]);
    void world.directory.look();
    await turns();
    expect(world.begun).toEqual(['vif2.0']);
    await world.clock.advance(50);
    expect(world.begun).toEqual(['vif2.0', 'vif1.0']);
  });

  it('those of a guest that cannot be listed keep no other from being served, and that is an error', async () => {
    const world = new World([1, 2, 3], [2], 3);
    const failed = expect(world.directory.look()).rejects.toThrow('it cannot be listed');
    await turns();
    await world.end('vif2.0');
    await failed;
    expect(world.begun).toEqual(['vif2.0', 'vif1.0']);
  });

  it.each(from(0, 12))('a change that comes %i microtasks after a look leads to another', async (ticks) => {
    const world = new World([]);
    const place = world.directory.placeOf({ domid: 7, handle: 0 });
    void world.directory.lookAt(place);
    await turns();
    world.settle('vif7.0', 'none');
    for (let i = 0; i < ticks; i++) await undefined;
    void world.directory.lookAt(place);
    await turns();
    expect(world.begun).toEqual(['vif7.0', 'vif7.0']);
  });

  it('one that is written key by key takes one turn, and one more look at its end', async () => {
    const world = new World([]);
    const place: VifPlace = world.directory.placeOf({ domid: 7, handle: 0 });
    for (let key = 0; key < 100; key++) void world.directory.lookAt(place);
    void world.directory.lookAt(world.directory.placeOf({ domid: 8, handle: 0 }));
    await turns();
    expect(world.begun).toEqual(['vif7.0', 'vif8.0']);
    await world.end('vif7.0', 'none');
    expect(world.begun).toEqual(['vif7.0', 'vif8.0', 'vif7.0']);
    await world.end('vif7.0');
    await world.end('vif8.0');
    expect(world.begun).toHaveLength(3);
  });

  it.each([
    [`${ROOT}/7/0/state`, { id: 'vif7.0', domid: 7, handle: 0, path: `${ROOT}/7/0` }],
    [`${ROOT}/7/0`, { id: 'vif7.0', domid: 7, handle: 0, path: `${ROOT}/7/0` }],
    [`${ROOT}/7`, { domid: 7 }],
    [ROOT, undefined],
    ['/local/domain/0/backend', undefined],
    [`${ROOT}/junk/0`, 'nothing'],
    [`${ROOT}/7/junk/x`, 'nothing'],
    [`${ROOT}/07/0`, 'nothing'],
  ])('a change of %s names what is to be looked at', (path, named) => {
    expect(new World([]).directory.named(path)).toEqual(named);
  });
});
