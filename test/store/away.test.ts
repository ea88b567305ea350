import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { StoreClient } from '../../lib/xen/store/client.js';
import { hindranceOf } from '../../lib/xen/store/hindrance.js';
import { MessageType } from '../../lib/xen/store/wire.js';
import { FakeDaemon, TestClock, turns } from './fake-daemon.js';

/** A client of a daemon that does what a test wants, with what its listener and its watches heard, in order. */
class World {
  readonly clock = new TestClock();
  readonly daemon = new FakeDaemon();
  readonly heard: string[] = [];
  readonly errors: VifdError[] = [];
  client!: StoreClient;

  async open(): Promise<void> {
    this.client = await this.under(StoreClient.open(this.daemon.connect, { clock: this.clock }));
    this.client.onConnection((lost) => {
      this.heard.push(lost === undefined ? 'back' : 'lost');
      if (lost !== undefined) this.errors.push(lost);
    });
  }

  /** What a promise resolves with, while turns pass and time does not. */
  async under<T>(promise: Promise<T>): Promise<T> {
    await turns(12);
    return promise;
  }

  async watch(path: string): Promise<Awaited<ReturnType<StoreClient['watch']>>> {
    const watch = await this.under(this.client.watch(path, (changed) => this.heard.push(`watch ${changed}`)));
    await turns();
    return watch;
  }
}

let world: World;

beforeEach(async () => {
  world = new World();
  await world.open();
});

afterEach(async () => {
  await world.client[Symbol.asyncDispose]();
  expect(world.clock.timers).toBe(0);
});

describe.each([100, 3000, 40_000, 3_600_000])('a xenstored that is away for %i ms', (ms) => {
  it('is reported at once, and calls, watches and transactions go on when it is back with its contents', async () => {
    const { client, daemon, clock, heard } = world;
    await world.watch('/w');
    await world.under(client.write('/w/n', '1'));
    heard.length = 0;
    daemon.die();
    await turns();
    expect(heard).toEqual(['lost']);
    expect(world.errors[0]).toMatchObject({
      code: 'ERR_STORE_GONE',
      errno: 'ECONNRESET',
      message: expect.stringMatching(
        /at \/fake\/socket is lost \(the daemon closed the connection\): start xenstored; .* for ever/,
      ),
    });
    const done: string[] = [];
    const body = client.transaction(async (view) => view.write('/t', (await view.read('/w/n')) ?? 'none'));
    const calls = [
      client.write('/a', '1').then(() => done.push('write')),
      client.read('/w/n').then((value) => done.push(`read ${value}`)),
      client.watch('/late', () => heard.push('late')).then(() => done.push('watch')),
      body.then(() => done.push('transaction')),
    ];
    await clock.advance(ms);
    expect(done).toEqual([]);
    expect(heard).toEqual(['lost']);
    daemon.mood = 'well';
    await clock.advance(1000);
    await Promise.all(calls);
    expect(done).toEqual(['write', 'read 1', 'watch', 'transaction']);
    expect(await world.under(client.read('/t'))).toBe('1');
    expect(heard).toEqual(['lost', 'back', 'watch /w', 'late']);
  });

  it('is asked at most once a second, and again and again', async () => {
    const { daemon, clock } = world;
    daemon.die();
    const before = daemon.connects;
    await clock.advance(ms);
    const attempts = daemon.connects - before;
    expect(attempts).toBeGreaterThanOrEqual(Math.floor(ms / 1000));
    expect(attempts).toBeLessThanOrEqual(Math.ceil(ms / 1000) + 7);
  });

  it('may come back empty: watches stand, and fire', async () => {
    const { client, daemon, clock, heard } = world;
    await world.watch('/w');
    await world.under(client.write('/w/n', '1'));
    heard.length = 0;
    daemon.die();
    await clock.advance(ms);
    daemon.store = new ModelStore();
    daemon.mood = 'well';
    await clock.advance(1000);
    expect(heard).toEqual(['lost', 'back', 'watch /w']);
    expect(await world.under(client.read('/w/n'))).toBeUndefined();
    await world.under(client.write('/w/n', '2'));
    await turns();
    expect(heard.at(-1)).toBe('watch /w/n');
  });
});

describe('while xenstored is away', () => {
  it('no watch fires: the listener hears of the return before all of them', async () => {
    const { daemon, clock, heard } = world;
    for (const path of ['/a', '/b', '/c']) await world.watch(path);
    heard.length = 0;
    daemon.slow = true;
    daemon.die();
    await clock.advance(1000);
    daemon.mood = 'well';
    await clock.advance(1000);
    expect(heard).toEqual(['lost', 'back', 'watch /a', 'watch /b', 'watch /c']);
  });

  it('closing a watch ends at once, and the watch is not registered again', async () => {
    const { daemon, clock, heard } = world;
    const watch = await world.watch('/w');
    daemon.die();
    await turns();
    heard.length = 0;
    await watch.close();
    daemon.mood = 'well';
    await clock.advance(1000);
    expect(heard).toEqual(['back']);
    expect(daemon.watches).toBe(0);
  });

  it('a watch that was being closed when it went is closed', async () => {
    const { daemon, clock } = world;
    const watch = await world.watch('/w');
    daemon.mood = 'hangs';
    const closing = watch.close();
    daemon.die();
    await world.under(closing);
    daemon.mood = 'well';
    await clock.advance(1000);
    expect(daemon.watches).toBe(0);
  });

  it('a watch that is closed while the next connection is made does not stay with xenstored', async () => {
    const { daemon, clock } = world;
    const watch = await world.watch('/w');
    daemon.die();
    let closing: Promise<void> | undefined;
    daemon.onRequest = ({ type }, when) => {
      if (type === MessageType.WATCH && when === 'after') closing = watch.close();
    };
    daemon.mood = 'well';
    await clock.advance(1000);
    await closing;
    expect(daemon.done.filter((request) => request.startsWith(`${MessageType.WATCH} `))).toHaveLength(2);
    expect(daemon.watches).toBe(0);
  });

  it('it is asked soon again, though it was away for long before', async () => {
    const { daemon, clock, heard } = world;
    daemon.die();
    await clock.advance(60_000);
    daemon.mood = 'well';
    await clock.advance(5000);
    expect(heard).toEqual(['lost', 'back']);
    daemon.die('well');
    await clock.advance(20);
    expect(heard).toEqual(['lost', 'back', 'lost', 'back']);
  });

  it('calls keep their order, though it was silent when it went', async () => {
    const { client, daemon, clock } = world;
    daemon.mood = 'hangs';
    const calls = [client.write('/a', 'first')];
    await clock.advance(1000);
    calls.push(client.write('/a', 'second'));
    daemon.die('well');
    await clock.advance(1000);
    await Promise.all(calls);
    expect(await world.under(client.read('/a'))).toBe('second');
  });

  it('disposal ends at once and rejects what waits', async () => {
    const { client, daemon } = world;
    await world.watch('/w');
    daemon.die();
    await turns();
    const calls = [
      client.read('/a'),
      client.watch('/b', () => {}),
      client.transaction(async (view) => view.write('/c', '1')),
    ].map((call) => expect(call).rejects.toMatchObject({ code: 'ERR_STATE' }));
    await client[Symbol.asyncDispose]();
    await Promise.all(calls);
  });

  it('calls are bounded', async () => {
    const { client, daemon } = world;
    daemon.die();
    await turns();
    const calls = Array.from({ length: 17_000 }, () => client.read('/a').catch((error) => error));
    const refused = (await Promise.race(calls.slice(-1))) as VifdError;
    expect(refused).toMatchObject({ code: 'ERR_STORE', errno: 'EBUSY' });
    const transaction = client.transaction(async () => {});
    await expect(transaction).rejects.toMatchObject({ errno: 'EBUSY' });
    await client[Symbol.asyncDispose]();
    const ends = await Promise.all(calls);
    expect(ends.filter((error) => error.code === 'ERR_STATE')).toHaveLength(16_384);
  });

  it('a xenstored that accepts connections and drops them is not asked in a busy loop', async () => {
    const { client, daemon, clock } = world;
    daemon.die('drops');
    const call = client.read('/a').catch((error) => error);
    await clock.advance(60_000);
    expect(daemon.connects).toBeLessThan(70);
    daemon.mood = 'well';
    await clock.advance(1000);
    expect(await call).toBeUndefined();
  });

  it('a refusal of a watch that stood before is reported with its reason, once', async () => {
    const { daemon, clock } = world;
    await world.watch('/w');
    daemon.die();
    daemon.store = new ModelStore({ quota: { watches: 0 } });
    daemon.domid = 7;
    daemon.mood = 'well';
    await clock.advance(5000);
    expect(world.errors.map(({ errno }) => errno)).toEqual(['ECONNRESET', 'E2BIG']);
    expect(world.errors[1]?.message).toMatch(/watch of "\/w".*quota of watches.*--watch-nb/);
    daemon.store = new ModelStore();
    await clock.advance(1000);
    expect(world.heard.slice(-2)).toEqual(['back', 'watch /w']);
  });
});

describe('what hinders the next connection', () => {
  it('is reported when it is something else than that xenstored is away, and again when it changes', async () => {
    const { daemon, clock } = world;
    daemon.die();
    for (const refusal of ['ECONNREFUSED', 'ENOENT', 'EMFILE', 'EACCES', 'ENOENT', 'ECONNREFUSED']) {
      daemon.refusal = refusal;
      await clock.advance(3000);
    }
    expect(world.errors.map(({ errno }) => errno)).toEqual(['ECONNRESET', 'EMFILE', 'EACCES', 'ENOENT']);
    expect(world.errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('start xenstored'),
      expect.stringMatching(/cannot be connected to \(EMFILE\): raise .*LimitNOFILE/),
      expect.stringMatching(/\(EACCES\): run vifd as root/),
      expect.stringMatching(/\(ENOENT\): start xenstored/),
    ]);
    daemon.mood = 'well';
    await clock.advance(2000);
    expect(world.heard.at(-1)).toBe('back');
  });

  it('is, of several paths, what is wrong at the one where xenstored may be', () => {
    const failed = (code: string) => Object.assign(new Error(code), { code });
    const cause = new AggregateError([failed('ENOENT'), failed('EMFILE'), failed('ENOENT')]);
    const error = new VifdError('ERR_XEN_UNAVAILABLE', 'tried', { cause });
    expect(hindranceOf(error)).toMatchObject({ errno: 'EMFILE' });
    expect(hindranceOf(failed('ENOTDIR'))).toMatchObject({ errno: 'ENOTDIR', remedy: 'start xenstored' });
  });
});

describe('a xenstored that hangs', () => {
  it('is reported within a second by the opening that waits for it, once', async () => {
    const { daemon, clock } = world;
    daemon.mood = 'hangs';
    const reported: VifdError[] = [];
    const opening = StoreClient.open(daemon.connect, { clock, onSilent: (silent) => reported.push(silent) });
    await clock.advance(1000);
    expect(reported).toMatchObject([{ code: 'ERR_STORE_GONE', errno: 'ETIMEDOUT' }]);
    await clock.advance(2000);
    daemon.wake();
    const client = await world.under(opening);
    // From then on its listeners know of it.
    daemon.mood = 'hangs';
    await clock.advance(10_000);
    expect(reported).toHaveLength(1);
    await client[Symbol.asyncDispose]();
  });

  it('is reported within a second though nothing is asked, and mended when it responds; watches stand', async () => {
    const { client, daemon, clock, heard } = world;
    await world.watch('/w');
    await clock.advance(10_000);
    heard.length = 0;
    daemon.mood = 'hangs';
    await clock.advance(1000);
    expect(heard).toEqual(['lost']);
    expect(world.errors[0]).toMatchObject({
      errno: 'ETIMEDOUT',
      message: expect.stringMatching(/has not responded for 500 ms/),
    });
    const { connects } = daemon;
    let value: unknown = 'waits';
    const call = client.write('/w/n', '1').then(() => client.read('/w/n'));
    call.then((read) => {
      value = read;
    });
    await clock.advance(20_000);
    expect(value).toBe('waits');
    daemon.wake();
    await turns(12);
    expect(value).toBe('1');
    // The same connection, and no event but that of the write.
    expect(daemon.connects).toBe(connects);
    expect(heard).toEqual(['lost', 'back', 'watch /w/n']);
  });

  it('is distinguished from one that responds and has no requests', async () => {
    const { client, clock, heard } = world;
    await world.under(client.read('/a'));
    await clock.advance(60_000);
    expect(heard).toEqual([]);
  });

  it('lets a watch be closed, and the client be disposed, at once', async () => {
    const { client, daemon, clock, heard } = world;
    const [before, during] = [await world.watch('/a'), await world.watch('/b')];
    daemon.mood = 'hangs';
    const closing = before.close();
    await clock.advance(1000);
    await closing;
    await during.close();
    daemon.wake();
    await turns(12);
    expect(heard.at(-1)).toBe('back');
    expect(daemon.watches).toBe(0);
    daemon.mood = 'hangs';
    const call = expect(client.read('/a')).rejects.toMatchObject({ code: 'ERR_STATE' });
    await client[Symbol.asyncDispose]();
    await call;
  });

  it('is left for another connection after half a minute', async () => {
    const { client, daemon, clock, heard } = world;
    await world.watch('/w');
    heard.length = 0;
    daemon.mood = 'hangs';
    const call = client.read('/w');
    await clock.advance(29_000);
    expect(daemon.connects).toBe(1);
    await clock.advance(10_000);
    expect(daemon.connects).toBeGreaterThan(1);
    expect(world.errors.map(({ errno }) => errno)).toEqual(['ETIMEDOUT', 'ECONNRESET']);
    daemon.mood = 'well';
    await clock.advance(6000);
    await call;
    expect(heard).toEqual(['lost', 'lost', 'back', 'watch /w']);
  });

  it('is sent nothing but what shows whether it responds', async () => {
    const { client, daemon, clock } = world;
    daemon.mood = 'hangs';
    await clock.advance(1000);
    const calls = [client.write('/c', '3'), client.transaction(async (view) => view.read('/c'))];
    await clock.advance(5000);
    expect(new Set(daemon.unread)).toEqual(new Set([MessageType.GET_DOMAIN_PATH]));
    daemon.wake();
    await clock.advance(100);
    expect(await Promise.all(calls)).toEqual([undefined, '3']);
  });

  it('in a driver domain: requests that its predecessor read and did not respond to are sent again', async () => {
    const { client, daemon, clock } = world;
    daemon.mood = 'hangs';
    const calls = [client.write('/a', '1'), client.transaction(async (view) => view.write('/b', '2'))];
    await clock.advance(3000);
    daemon.forgetRead();
    daemon.wake();
    await clock.advance(4000);
    await Promise.all(calls);
    expect(await world.under(client.read('/b'))).toBe('2');
  });

  it('while vifd opens it, is an error and no wait without end', async () => {
    const { daemon, clock } = world;
    daemon.mood = 'hangs';
    const opening = StoreClient.open(daemon.connect, { clock });
    const refused = expect(opening).rejects.toMatchObject({
      code: 'ERR_XEN_UNAVAILABLE',
      message: expect.stringMatching(/did not respond for 5 s/),
    });
    await clock.advance(6000);
    await refused;
  });
});

describe('whatever request the connection is lost at', () => {
  /** Where it is lost: before or after the n-th request takes effect, once for each entry. */
  const losses = fc.array(fc.record({ after: fc.nat(12), when: fc.constantFrom('before', 'after') }), {
    maxLength: 6,
  });
  const steps = fc.array(
    fc.record({
      kind: fc.constantFrom('write', 'rm', 'watch', 'unwatch', 'transaction', 'read'),
      node: fc.nat(2),
      pauses: fc.nat(2),
    }),
    { minLength: 1, maxLength: 14 },
  );

  it('no call is lost, calls take effect in their order, and no watch is lost', async () => {
    await fc.assert(
      fc.asyncProperty(losses, steps, fc.boolean(), async (cuts, plan, hangs) => {
        const w = new World();
        await w.open();
        const { client, daemon, clock } = w;
        let countdown = cuts[0]?.after ?? -1;
        let cut = 0;
        daemon.onRequest = (_request, when) => {
          if (cut >= cuts.length || when !== cuts[cut]?.when) return;
          countdown -= 1;
          if (countdown >= 0) return;
          cut += 1;
          countdown = cuts[cut]?.after ?? -1;
          if (hangs && cut % 2 === 1) daemon.mood = 'hangs';
          else daemon.die('well');
        };
        const expected = new Map<string, string>();
        const seen: number[] = [];
        const watches: Promise<{ close(): Promise<void> }>[] = [];
        const closed = new Set<number>();
        let early = 0;
        const calls: Promise<unknown>[] = [];
        const read: string[] = [];
        for (const [index, { kind, node, pauses }] of plan.entries()) {
          const path = `/n/${node}`;
          if (kind === 'write') {
            expected.set(path, String(index));
            calls.push(client.write(path, String(index)));
          } else if (kind === 'rm') {
            expected.delete(path);
            calls.push(client.rm(path));
          } else if (kind === 'read') calls.push(client.read(path));
          else if (kind === 'transaction') {
            // Alone: its order among calls that overlap is not promised.
            await drive(w, calls);
            expected.set(path, `t${index}`);
            calls.push(client.transaction((view) => view.write(path, `t${index}`)));
            await drive(w, calls);
          } else if (kind === 'watch') {
            const id = watches.length;
            watches.push(
              client.watch('/n', (changed) => {
                if (w.heard.at(-1) === 'lost') early += 1;
                if (changed === '/n/end') seen.push(id);
              }),
            );
            calls.push(watches[id] as Promise<unknown>);
          } else {
            const id = watches.length - 1;
            if (id >= 0 && !closed.has(id)) {
              closed.add(id);
              calls.push((watches[id] as Promise<{ close(): Promise<void> }>).then((watch) => watch.close()));
            }
          }
          await turns(pauses);
        }
        await drive(w, calls);
        daemon.onRequest = () => {};
        await drive(w, [client.write('/n/end', 'x')]);
        await clock.advance(2000);
        for (const [path, value] of expected) read.push(`${path}=${await readNow(w, path)}|${value}`);
        for (const entry of read) {
          const [got, want] = (entry.split('=')[1] as string).split('|');
          expect(got).toBe(want);
        }
        for (const node of [0, 1, 2]) {
          if (!expected.has(`/n/${node}`)) expect(await readNow(w, `/n/${node}`)).toBeUndefined();
        }
        const open = watches.map((_, id) => id).filter((id) => !closed.has(id));
        expect([...new Set(seen)].sort()).toEqual(open.sort());
        expect(daemon.watches).toBe(open.length);
        expect(early).toBe(0);
        const reports = w.heard.filter((text) => text === 'lost' || text === 'back');
        if (reports.length > 0) expect(reports.at(-1)).toBe('back');
        await client[Symbol.asyncDispose]();
        expect(clock.timers).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  /** Advances the time until all calls are done; a daemon that hangs responds again after a while. */
  async function drive(w: World, calls: Promise<unknown>[]): Promise<void> {
    let done = false;
    const all = Promise.all(calls.splice(0)).then(() => {
      done = true;
    });
    all.catch(() => {
      done = true;
    });
    for (let round = 0; round < 200 && !done; round += 1) {
      await w.clock.advance(300);
      if (round % 4 === 3 && w.daemon.mood === 'hangs') w.daemon.wake();
    }
    expect(done).toBe(true);
    await all;
  }

  async function readNow(w: World, path: string): Promise<string | undefined> {
    const reading = w.client.read(path);
    await drive(w, [reading]);
    return reading;
  }
});
