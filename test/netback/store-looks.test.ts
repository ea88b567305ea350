/** A look reads only what a change names. It must find what one that reads everything would. */
import * as fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Vif as ServedVif } from '../../lib/netback/vif/vif.js';
import { VifNode } from '../../lib/netback/vif/vif-node.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import type { Store, StoreView } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const BACK = backendVifPath(0, 7, 0);
const FRONT = frontendVifPath(7, 0);

/** Keys in one transaction, in this order; undefined removes. */
interface Write {
  readonly write: ReadonlyArray<readonly [path: string, value: string | undefined]>;
}

/** The guest connects with other rings, through these states. */
interface Reconnect {
  readonly reconnect: readonly string[];
  readonly oneTransaction: boolean;
}

type Change = Write | Reconnect;

const states = fc.constantFrom('0', '1', '2', '3', '4', '5', '6', '7', '8', 'x', undefined);
const bit = fc.constantFrom('0', '1', undefined);

const key: fc.Arbitrary<readonly [string, string | undefined]> = fc.oneof(
  fc.tuple(fc.constant(`${BACK}/state`), fc.constantFrom('1', '2', '4', '5', '6', '8')),
  fc.tuple(fc.constant(`${BACK}/online`), bit),
  fc.tuple(fc.constant(`${BACK}/rate`), fc.constantFrom('1000000,50000', 'wrong', '', undefined)),
  fc.tuple(fc.constant(`${BACK}/script`), fc.constantFrom('vif-bridge', undefined)),
  fc.tuple(fc.constant(`${BACK}/hotplug-status`), fc.constantFrom('connected', 'error', '', undefined)),
  fc.tuple(fc.constant(`${BACK}/hotplug-error`), fc.constantFrom('no bridge', undefined)),
  fc.tuple(
    fc
      .constantFrom('feature-sg', 'carrier', 'multi-queue-max-queues', 'strange')
      .map((name) => `${BACK}/${name}`),
    fc.constantFrom('0', '1', '2'),
  ),
  fc.tuple(fc.constant(`${FRONT}/state`), states),
  fc.tuple(fc.constant(`${FRONT}/state/below`), bit),
  fc.tuple(fc.constant(`${FRONT}/request-multicast-control`), bit),
  fc.tuple(fc.constant(`${FRONT}/feature-sg`), bit),
  // Gone, with all below them: the vif, its guest's vifs, the guest's end.
  fc.tuple(fc.constantFrom(BACK, backendVifPath(0, 7, 0).slice(0, -2), FRONT), fc.constant(undefined)),
  fc.tuple(fc.constant(`${BACK}/frontend`), fc.constant(FRONT)),
);
/** What toolstacks and guests change together. */
const together: fc.Arbitrary<ReadonlyArray<readonly [string, string | undefined]>> = fc
  .constantFrom(
    [`${BACK}/online=0`, `${BACK}/state=5`],
    [`${BACK}/state=5`, `${BACK}/online=0`],
    // libxl's forced removal, and its removal of both ends.
    [FRONT, `${BACK}/online=0`, `${BACK}/state=5`],
    [FRONT, BACK],
    [`${BACK}/hotplug-error=no bridge`, `${BACK}/hotplug-status=error`],
    [`${BACK}/hotplug-status=error`, `${BACK}/hotplug-error=no bridge`],
    [BACK, `${BACK}/frontend=${FRONT}`, `${BACK}/online=1`, `${BACK}/state=1`, `${FRONT}/state=1`],
    [`${FRONT}/xdp-headroom=256`, `${FRONT}/state=7`],
    [`${FRONT}/feature-sg`, `${FRONT}/state=4`],
  )
  .map((lines) => lines.map((line) => line.split('=') as [string, string | undefined]));

const reconnect: fc.Arbitrary<Change> = fc.record({
  reconnect: fc.constantFrom(['4'], ['1', '4'], ['5', '6', '1', '4'], ['6', '1', '3', '4']),
  oneTransaction: fc.boolean(),
});
/** One key, or those that one program changes in one transaction. */
const orderly = fc.oneof(
  { weight: 4, arbitrary: key.map((one): Change => ({ write: [one] })) },
  { weight: 2, arbitrary: together.map((write): Change => ({ write })) },
  { weight: 2, arbitrary: reconnect },
);
const wild = fc.oneof(
  { weight: 3, arbitrary: fc.record({ write: fc.array(key, { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: orderly },
);

class Watched {
  readonly hypervisor: ModelHypervisor;
  readonly world: World;
  readonly guest: RawGuest;

  private constructor(hypervisor: ModelHypervisor, world: World, guest: RawGuest) {
    this.hypervisor = hypervisor;
    this.world = world;
    this.guest = guest;
  }

  static async open(): Promise<Watched> {
    const hypervisor = new ModelHypervisor();
    const world = await World.open(modelMachine(hypervisor));
    const guest = await world.guest(7);
    await world.start('copy', [guest]);
    return new Watched(hypervisor, world, guest);
  }

  /** Starts the change; `settle` completes it. */
  begin(made: Change): Promise<void> {
    const { store } = this.world.toolstack;
    return 'write' in made ? writeAll(store, made.write) : this.#reconnect(store, made);
  }

  async #reconnect(store: Store, { reconnect, oneTransaction }: Reconnect): Promise<void> {
    const keys = Object.entries(this.guest.offer()).map(
      ([name, value]) => [`${FRONT}/${name}`, value] as const,
    );
    const to = reconnect.map((state) => [`${FRONT}/state`, state] as const);
    if (oneTransaction) return writeAll(store, [...keys, ...to]);
    await writeAll(store, keys);
    for (const one of to) await writeAll(store, [one]);
  }

  /** The effects that a change in the store may have. */
  async seen(): Promise<unknown> {
    const { world } = this;
    const reading = dump(world.toolstack.store, [BACK, FRONT]);
    await world.settle();
    const vif = world.netback.vifs.get('vif7.0');
    const { connection, faults = [], state } = vif?.show() ?? {};
    return {
      store: await reading,
      state,
      // In any order.
      faults: faults.map(({ message }) => message).sort(),
      connection: connection && {
        negotiated: connection.negotiated,
        xdpHeadroom: connection.xdpHeadroom,
        multicast: connection.multicast,
        rate: connection.rate?.bytes,
        queues: connection.queues.length,
      },
      ports: [...world.ports.values()].map(({ removed }) => removed),
      attached: world.attached.length,
      detached: world.detached,
      errors: world.errors.map(({ message }) => message).sort(),
    };
  }
}

async function writeAll(
  store: Store,
  keys: ReadonlyArray<readonly [string, string | undefined]>,
): Promise<void> {
  await store.transaction(async (view) => {
    for (const [path, value] of keys) await (value === undefined ? view.rm(path) : view.write(path, value));
  });
}

async function dump(store: StoreView, paths: readonly string[]): Promise<Record<string, string | undefined>> {
  const found: Record<string, string | undefined> = {};
  for (const path of paths) {
    found[path] = await store.read(path);
    const below = (await store.list(path)).map((name) => `${path}/${name}`);
    Object.assign(found, await dump(store, below.sort()));
  }
  return found;
}

/** Makes one change after the other. @returns the effects of each. */
async function follow(changes: readonly Change[]): Promise<unknown[]> {
  const watched = await Watched.open();
  const seen: unknown[] = [];
  for (const made of changes) {
    await watched.world.settled(watched.begin(made));
    // Long enough for work that a guest's budget, or a retry, delayed.
    await watched.hypervisor.advance(5000);
    seen.push(await watched.seen());
  }
  await watched.world.close();
  return seen;
}

describe('a look that reads what a change names', () => {
  afterEach(() => vi.restoreAllMocks());

  it('does what one that reads everything does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(orderly, { minLength: 1, maxLength: 12 }), async (changes) => {
        vi.restoreAllMocks();
        const partly = await follow(changes);
        const note = VifNode.prototype.note;
        vi.spyOn(VifNode.prototype, 'note').mockImplementation(function (this: VifNode) {
          return note.call(this, undefined);
        });
        expect(partly).toEqual(await follow(changes));
      }),
      { numRuns: Number(process.env.VIFD_LOOKS ?? 60) },
    );
  });

  it('has missed nothing of what happened at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(wild, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 5 }),
        async (bursts) => {
          const watched = await Watched.open();
          for (const burst of bursts) {
            await watched.world.settled(Promise.all(burst.map((made) => watched.begin(made))));
            await watched.hypervisor.advance(5000);
            const seen = await watched.seen();
            // A look at everything finds nothing to do.
            const vif = watched.world.netback.vifs.get('vif7.0') as ServedVif | undefined;
            await watched.world.settled(vif?.poke() ?? Promise.resolve());
            await watched.hypervisor.advance(5000);
            expect(await watched.seen()).toEqual(seen);
          }
          await watched.world.close();
        },
      ),
      { numRuns: Number(process.env.VIFD_LOOKS ?? 60) },
    );
  });
});
