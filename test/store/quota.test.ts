import { afterEach, describe, expect, it } from 'vitest';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { StoreClient } from '../../lib/xen/store/client.js';
import { MessageType } from '../../lib/xen/store/wire.js';
import { FakeDaemon, TestClock, turns } from './fake-daemon.js';

const NO_EVENTS = { onEvent() {}, onReleased() {}, onLost() {} };

describe("the model's xenstored", () => {
  it('allows a connection of a domain 10 open transactions, and dom0 any number', () => {
    const store = new ModelStore();
    const guest = store.connect(5, NO_EVENTS);
    const begun = Array.from({ length: 10 }, () => guest.begin(0));
    expect(() => guest.begin(0)).toThrow(expect.objectContaining({ errno: 'ENOSPC' }));
    guest.end(begun[0]!, false);
    guest.begin(0);
    const dom0 = store.connect(0, NO_EVENTS);
    for (let n = 0; n < 100; n += 1) dom0.begin(0);
  });
});

/** A client in domain 5, whose other programs leave it this many transactions. */
async function clientWithin(transactions: number) {
  const daemon = new FakeDaemon();
  const clock = new TestClock();
  daemon.domid = 5;
  daemon.store = new ModelStore({ quota: { transactions } });
  const opening = StoreClient.open(daemon.connect, { clock });
  await turns(12);
  return { daemon, clock, client: await opening };
}

describe('a transaction while other programs of the domain fill its quota', () => {
  let client: StoreClient;
  afterEach(() => client[Symbol.asyncDispose]());

  it('waits for room, and succeeds', async () => {
    const world = await clientWithin(1);
    client = world.client;
    const done: number[] = [];
    const all = [1, 2, 3].map((n) => client.transaction(async () => void done.push(n)));
    await world.clock.advance(100);
    await Promise.all(all);
    expect(done.sort()).toEqual([1, 2, 3]);
  });

  it('is given up within half a second, with the remedy', async () => {
    const world = await clientWithin(0);
    client = world.client;
    let outcome: unknown;
    client
      .transaction(async () => {})
      .catch((error) => {
        outcome = error;
      });
    await world.clock.advance(400);
    expect(outcome).toBeUndefined();
    await world.clock.advance(100);
    expect(outcome).toMatchObject({
      code: 'ERR_STORE',
      errno: 'ENOSPC',
      message: expect.stringContaining('xenstored --transaction'),
    });
    expect(
      world.daemon.done.filter((line) => line.startsWith(`${MessageType.TRANSACTION_START}`)).length,
    ).toBeLessThan(10);
  });

  it('ends at once when the client is closed', async () => {
    const world = await clientWithin(0);
    client = world.client;
    const waiting = Array.from({ length: 20 }, () =>
      client.transaction(async () => {}).catch((error) => error),
    );
    await turns(12);
    await client[Symbol.asyncDispose]();
    for (const outcome of await Promise.all(waiting)) expect(outcome).toMatchObject({ code: 'ERR_STATE' });
    expect(world.clock.timers).toBe(0);
  });
});
