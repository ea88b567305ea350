/** A worker and a supervisor's end of its link, on the model, over real sockets. */
import { closeSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import { VifLocks } from '../../lib/host/vif-locks.js';
import type { Admission } from '../../lib/netback/vif/directory.js';
import { WORKER_VIFS_MAX } from '../../lib/workers/messages.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { inodeOf, openCount, withOpen } from '../host/descriptors.js';
import { whyNoAddon } from '../native/reason.js';
import { LinkedWorld, type TestSupervisor, type TestWorker } from './linked-world.js';
import { socketPair } from './socket-pair.js';

const NODE = '/local/domain/0/backend/vif/7/0';

describe.skipIf(whyNoAddon())('a worker', () => {
  let world: LinkedWorld;
  let before: number;
  let worker: TestWorker;
  let supervisor: TestSupervisor;
  beforeEach(() => {
    before = openCount();
    world = LinkedWorld.make();
  });
  afterEach(async () => {
    await world.close();
    await world.calm();
    expect(openCount()).toBe(before);
  });
  /** Begins a supervisor, with a link to the worker. It looks for no vifs yet. */
  const link = async () => {
    const [near, far] = socketPair();
    worker.worker.accept(far);
    supervisor = await world.supervisor(near);
    await world.calm();
  };
  /** Begins a worker, and a supervisor that finds all vifs. */
  const begin = async () => {
    worker = await world.worker();
    await link();
    await world.during(supervisor.discovery.open());
    await world.calm();
  };
  const connected = async (domid = 7): Promise<RawGuest> => {
    const guest = await world.guest(domid);
    await world.settled(guest.connect(world.toolstack));
    return guest;
  };
  const place = (domid: number) =>
    ({ id: `vif${domid}.0`, domid, handle: 0, path: world.node(domid) }) as const;
  /** Whether frames move in both directions. */
  const moves = async (guest: RawGuest): Promise<boolean> => {
    const port = world.port(`vif${guest.domid}.0`);
    const [written, received] = [port.written.length, guest.rxResponses().length];
    guest.send([{ size: 60 }]);
    guest.post([guest.ref(3)]);
    port.put(new Uint8Array(60).fill(7));
    await world.calm();
    return port.written.length === written + 1 && guest.rxResponses().length === received + 1;
  };

  it('serves what the supervisor finds: frames move, and the supervisor hears of it', async () => {
    const guest = await connected();
    await begin();
    expect(supervisor.take()).toEqual(['hello', 'keep vif7.0', 'vif7.0 attached', 'vif7.0 is connected']);
    expect(worker.events).toEqual(['vif7.0 attached']);
    expect(await moves(guest)).toBe(true);
  });

  it('serves vifs that come later, and whose nodes are written key by key', async () => {
    await begin();
    const front = world.frontend(7);
    await world.settled(world.toolstack.store.write(`${front}/state`, '1'));
    for (const [key, value] of [
      ...[
        ['frontend', front],
        ['frontend-id', '7'],
        ['online', '1'],
        ['state', '1'],
        ['mac', '00:16:3e:00:00:07'],
      ],
    ]) {
      await world.settled(world.toolstack.store.write(`${NODE}/${key}`, value));
      await world.calm();
    }
    expect(await world.state(7)).toBe('2');
    expect(await world.during(supervisor.remote.show('vif7.0'))).toMatchObject({ mac: '00:16:3e:00:00:07' });
    const guest = await connected();
    await world.calm();
    expect(await moves(guest)).toBe(true);
  });

  it('shows a vif as its own process does', async () => {
    await connected();
    await begin();
    const shown = await world.during(supervisor.remote.show('vif7.0'));
    const own = JSON.parse(JSON.stringify(worker.worker.vifs.get('vif7.0')!.show()));
    expect(shown).toEqual({ ...own, connection: { ...own.connection, attachedMs: expect.any(Number) } });
    expect(shown.connection?.queues).toHaveLength(1);
    const missing = supervisor.remote.show('vif8.0');
    await expect(world.during(missing)).rejects.toMatchObject({ code: 'ERR_NO_VIF', vif: 'vif8.0' });
  });

  it('hears of changes that the supervisor’s watch reports', async () => {
    await connected();
    await begin();
    supervisor.take();
    await world.write(`${NODE}/rate`, '1000,50000');
    await world.calm();
    const rate = async () => (await world.during(supervisor.remote.show('vif7.0'))).connection?.rate;
    expect(await rate()).toMatchObject({ bytes: 1000 });
    await world.write(`${NODE}/rate`, 'nonsense');
    await world.calm();
    expect(supervisor.take()).toEqual([expect.stringMatching(/^vif7.0 is connected: .*nonsense/)]);
    await world.rm(NODE);
    await world.calm();
    expect(supervisor.take()).toEqual(['vif7.0 detached: guest-gone', 'forget vif7.0', 'vif7.0 gone']);
    expect([supervisor.remote.vifs.size, worker.worker.vifs.size, supervisor.kept.names]).toEqual([0, 0, []]);
  });

  it('serves a new vif at the place of one that is gone', async () => {
    await connected();
    await begin();
    await world.rm(NODE);
    const guest = await connected();
    await world.calm();
    expect(await moves(guest)).toBe(true);
    expect([...supervisor.remote.vifs.keys()]).toEqual(['vif7.0']);
  });

  it('serves a vif that it refused once it accepts it', async () => {
    const guest = await connected();
    worker = await world.worker();
    worker.accepts = false;
    await link();
    await world.during(supervisor.discovery.open());
    expect(supervisor.remote.has('vif7.0')).toBe(false);
    worker.accepts = true;
    worker.worker.lookAgain();
    await world.calm();
    expect(await moves(guest)).toBe(true);
  });

  it('forgets a vif whose node is missing since xenstored returned, and no other one', async () => {
    await connected();
    await begin();
    const early = supervisor.remote.forget('vif7.0');
    await expect(world.during(early)).rejects.toMatchObject({ code: 'ERR_STATE', vif: 'vif7.0' });
    supervisor.storeReturned();
    await world.calm();
    // As a xenstored that has lost its content.
    supervisor.storeReturned();
    await world.during(world.toolstack.store.rm(NODE));
    await world.calm();
    supervisor.take();
    await world.during(supervisor.remote.forget('vif7.0'));
    expect(supervisor.take()).toContain('vif7.0 gone');
  });

  it('reports that it is alive, ten times a second, and how busy it is', async () => {
    await begin();
    await world.hypervisor.advance(1000);
    await world.calm();
    expect(supervisor.loads).toHaveLength(10);
    for (const load of supervisor.loads) expect(load).toBeLessThanOrEqual(1);
  });

  it('reports a state that changed without an event of its own', async () => {
    await connected();
    await world.write(`${world.frontend(7)}/state`, '1');
    await begin();
    supervisor.take();
    await world.write(`${world.frontend(7)}/state`, '5');
    await world.calm();
    await world.hypervisor.advance(300);
    await world.calm();
    expect(supervisor.take()).toEqual(['vif7.0 is closed']);
  });

  it('ends the vifs of a domain that is gone, as the supervisor hears from the hypervisor', async () => {
    await connected();
    await begin();
    supervisor.take();
    supervisor.domainGone(7);
    await world.calm();
    expect(supervisor.take().slice(0, 3)).toEqual([
      'vif7.0 detached: guest-gone',
      'forget vif7.0',
      'vif7.0 gone',
    ]);
  });

  it('detaches from all guests and ends when the supervisor asks for it', async () => {
    const guest = await connected();
    await begin();
    supervisor.take();
    await world.during(supervisor.remote.end());
    expect(supervisor.take()).toEqual(['vif7.0 detached: shutdown']);
    expect([worker.ended, await world.state(7)]).toEqual([1, '4']);
    // It serves none from then on, and does not refuse it: then the supervisor would leave it alone.
    supervisor.remote.vifs.clear();
    const asked = world.during(supervisor.found(place(7), false));
    await expect(asked).rejects.toMatchObject({ code: 'ERR_STATE', vif: 'vif7.0' });
    expect(worker.worker.vifs.size).toBe(0);
    await world.end(worker);
    // The next process resumes.
    await world.start('copy');
    expect(await moves(guest)).toBe(true);
  });

  it('continues without a supervisor, and gives the next one all that it needs', async () => {
    const guest = await connected();
    await begin();
    const inode = inodeOf(supervisor.kept.get('vif7.0')!);
    await world.end(supervisor);
    expect(await moves(guest)).toBe(true);
    await link();
    expect(supervisor.take()).toEqual(['hello vif7.0', 'keep vif7.0', 'vif7.0 is connected']);
    expect(inodeOf(supervisor.kept.get('vif7.0')!)).toBe(inode);
    await world.during(supervisor.discovery.open());
    expect(await moves(guest)).toBe(true);
    expect(worker.events).toEqual(['vif7.0 attached']);
  });

  it('looks, when the next supervisor is there, at what changed while none was', async () => {
    await connected();
    await begin();
    await world.end(supervisor);
    await world.write(`${NODE}/rate`, '1000,50000');
    await world.calm();
    const rate = () => worker.worker.vifs.get('vif7.0')!.show().connection?.rate?.bytes;
    expect(rate()).toBeUndefined();
    await link();
    expect(rate()).toBe(1000);
  });

  it('prefers a new link to the one that it has', async () => {
    const guest = await connected();
    await begin();
    const first = supervisor;
    await link();
    expect([first.ends, first.remote.ended]).toEqual([[undefined], true]);
    expect(supervisor.take()[0]).toBe('hello vif7.0');
    expect(await moves(guest)).toBe(true);
  });

  it('tells the next supervisor what became of a vif that it was looking at', async () => {
    worker = await world.worker();
    await link();
    for (const accepted of [false, true]) {
      let decide = (_accepted: boolean) => {};
      worker.accepts = new Promise((resolve) => {
        decide = resolve;
      });
      const guest = await connected();
      const asked = supervisor.found(place(7), false);
      const refused = expect(asked).rejects.toMatchObject({ code: 'ERR_STATE' });
      await world.calm();
      await world.end(supervisor);
      await refused;
      await link();
      expect(supervisor.take()).toEqual(['hello vif7.0']);
      decide(accepted);
      await world.calm();
      const events = supervisor.take();
      expect(supervisor.ends).toEqual([]);
      if (accepted) {
        expect(events).toEqual(['keep vif7.0', 'vif7.0 attached', 'vif7.0 is connected']);
        expect(await moves(guest)).toBe(true);
      } else expect(events).toEqual(['vif7.0 gone']);
    }
  });

  it('takes a change during its look into account', async () => {
    const guest = await connected();
    worker = await world.worker();
    await link();
    // The worker reads both messages in one turn, and then the node.
    const found = supervisor.found(place(7), false);
    supervisor.changed(`${NODE}/mac`, place(7));
    expect(await world.during(found)).toBe('waiting');
    // A change of one vif, or of one guest, concerns no other one.
    for (const domid of [8, 9]) await world.settled((await world.guest(domid)).connect(world.toolstack));
    for (const named of [place(8), { domid: 8 }]) {
      const both = [supervisor.found(place(8), false), supervisor.found(place(9), false)];
      supervisor.changed(NODE, named);
      expect(await world.during(Promise.all(both))).toEqual(['waiting', 'served']);
    }
    const all = supervisor.found(place(8), false);
    supervisor.changed('/local/domain/0/backend', undefined);
    expect(await world.during(all)).toBe('waiting');
    const again = supervisor.found(place(7), false);
    for (const named of [place(8), { domid: 8 }]) supervisor.changed(world.node(8), named);
    expect(await world.during(again)).toBe('served');
    await world.calm();
    expect(await moves(guest)).toBe(true);
  });

  it('ends by itself when it has neither vifs nor a supervisor', async () => {
    const guest = await connected();
    await begin();
    await world.end(supervisor);
    await world.hypervisor.advance(60_000);
    expect([worker.ended, await moves(guest)]).toEqual([0, true]);
    // As a supervisor tells it.
    await link();
    await world.rm(NODE);
    supervisor.changed(NODE, place(7));
    await world.calm();
    await world.end(supervisor);
    await world.calm();
    await world.hypervisor.advance(9_500);
    expect(worker.ended).toBe(0);
    await world.hypervisor.advance(1_000);
    expect(worker.ended).toBeGreaterThan(0);
  });

  it('continues when the supervisor sends what is no message, and reports it', async () => {
    const guest = await connected();
    await begin();
    for (const [text, descriptors] of [
      ['{"ask":"show"}', 0],
      ['{"tell":"store-returned"}', 1],
      ['x', 0],
    ] as const) {
      const [near, far] = socketPair();
      worker.worker.accept(far);
      withOpen(['/dev/null'], (one) =>
        addon().sendMessage(near, Buffer.from(text), Array<number>(descriptors).fill(one)),
      );
      await world.calm();
      closeSync(near);
      expect(worker.events.splice(0).at(-1)).toBe('worker ERR_WORKER');
    }
    expect(await moves(guest)).toBe(true);
  });

  it('cuts reasons and errors that are longer than messages may have', async () => {
    await connected();
    await begin();
    supervisor.take();
    const long = 'x'.repeat(3000);
    Object.defineProperty(worker.worker.vifs.get('vif7.0'), 'reason', { get: () => long });
    await world.hypervisor.advance(300);
    await world.calm();
    expect(supervisor.take()).toEqual([expect.stringMatching(/^vif7.0 is connected: x+…$/)]);
    const refusal = Promise.reject(new Error(long));
    refusal.catch(() => {});
    worker.accepts = refusal;
    await world.during(supervisor.discovery.close());
    await connected(8);
    const asked = supervisor.found(place(8), false);
    await expect(world.during(asked)).rejects.toMatchObject({ message: expect.stringMatching(/^x+…$/) });
    expect(supervisor.ends).toEqual([]);
    worker.accepts = true;
  });

  it('returns the descriptors of a vif that it does not serve', async () => {
    await connected();
    worker = await world.worker();
    worker.accepts = false;
    await link();
    withOpen(['/dev/null'], (one) => supervisor.kept.own('vif7.0', addon().duplicateDescriptor(one)));
    const open = openCount();
    expect(await world.during(supervisor.found(place(7), false))).toBe('refused');
    expect(openCount()).toBe(open);
    // The second of two looks at once is refused, with its descriptors.
    const both = Promise.allSettled([supervisor.found(place(7), false), supervisor.found(place(7), false)]);
    expect(await world.during(both)).toMatchObject([
      { value: 'refused' },
      { status: 'rejected', reason: { code: 'ERR_STATE', vif: 'vif7.0' } },
    ]);
    expect(openCount()).toBe(open);
  });

  it('looks at no more vifs than it can name in a message', async () => {
    worker = await world.worker();
    await link();
    // Its requests wait.
    world.hypervisor.store.stop();
    const looks: Promise<PromiseSettledResult<Admission>[]>[] = [];
    for (let domid = 1; domid <= WORKER_VIFS_MAX + 1; domid++) {
      looks.push(Promise.allSettled([supervisor.found(place(domid), false)]));
      if (domid % 8 === 0) await turn();
    }
    await world.calm();
    world.hypervisor.store.start();
    await world.hypervisor.advance(5000);
    const results = (await world.during(Promise.all(looks))).flat();
    const last = results.pop();
    expect(new Set(results.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify({ status: 'fulfilled', value: 'none' })]),
    );
    expect(last).toMatchObject({ status: 'rejected', reason: { code: 'ERR_STATE', vif: 'vif2049.0' } });
  });

  it('reports that xenstored is away, and looks at its vifs when it is back', async () => {
    const guest = await connected();
    await begin();
    worker.events.splice(0);
    world.hypervisor.store.stop();
    await world.calm();
    expect(await moves(guest)).toBe(true);
    world.hypervisor.store.start();
    await world.hypervisor.advance(5000);
    await world.calm();
    expect(worker.events).toEqual(['worker ERR_STORE_GONE', 'worker mended ERR_STORE_GONE']);
    expect(await moves(guest)).toBe(true);
  });

  it('keeps the guests of a store that came back empty while no supervisor was there', async () => {
    const guest = await connected();
    await begin();
    await world.end(supervisor);
    worker.events.splice(0);
    world.hypervisor.store.stop();
    await world.calm();
    world.hypervisor.store.start('lost');
    await world.hypervisor.advance(5000);
    await world.calm();
    expect(worker.events).toContain('vif7.0 ERR_NODE_GONE');
    expect(await moves(guest)).toBe(true);
  });

  it('is followed by another one when it is killed: connections and descriptors stay', async () => {
    const guest = await connected();
    await begin();
    expect(await moves(guest)).toBe(true);
    const inode = inodeOf(supervisor.kept.get('vif7.0')!);
    world.forget(worker);
    worker.kill();
    await world.calm();
    expect(supervisor.ends).toEqual([undefined]);
    const kept = supervisor.kept.forProcess().take('vif7.0')!;
    const [near, far] = socketPair();
    worker = await world.worker();
    worker.worker.accept(far);
    const next = await world.supervisor(near);
    next.kept.own('vif7.0', kept);
    await world.during(next.discovery.open());
    await world.calm();
    expect(next.take()).toEqual(['hello', 'vif7.0 resumed', 'vif7.0 is connected']);
    expect(worker.taken.get('vif7.0')).toBe(inode);
    expect(await moves(guest)).toBe(true);
  });
});

describe.skipIf(whyNoAddon())('the lock of a vif', () => {
  let world: LinkedWorld;
  let directory: string;
  beforeEach(() => {
    world = LinkedWorld.make();
    directory = mkdtempSync(join(tmpdir(), 'vifd-locks-'));
  });
  afterEach(async () => {
    await world.close();
    rmSync(directory, { recursive: true });
  });

  it('lets one worker at a time serve the vif, from before its look to its end', async () => {
    const locks = new VifLocks(directory);
    const begun = async () => {
      const [near, far] = socketPair();
      const worker = await world.worker(locks);
      worker.worker.accept(far);
      return { worker, supervisor: await world.supervisor(near) };
    };
    const [one, other] = [await begun(), await begun()];
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack));
    const place = { id: 'vif7.0', domid: 7, handle: 0, path: world.node(7) } as const;
    const found = ({ supervisor }: typeof one) => world.during(supervisor.found(place, false));
    expect(await found(one)).toBe('served');
    await expect(found(other)).rejects.toMatchObject({ code: 'ERR_RUNNING', vif: 'vif7.0' });
    expect(other.supervisor.remote.has('vif7.0')).toBe(false);
    // A vif that is not served leaves its lock free.
    await world.write(`${place.path}/online`, '1');
    other.worker.accepts = false;
    await world.during(one.supervisor.remote.end());
    expect(await found(other)).toBe('refused');
    expect(locks.holder(place)).toBeUndefined();
    other.worker.accepts = true;
    expect(await found(other)).toBe('served');
    await world.rm(place.path);
    other.supervisor.changed(place.path, place);
    await world.calm();
    expect(other.supervisor.take().at(-1)).toBe('vif7.0 gone');
    locks.take(place)[Symbol.dispose]();
  });

  it('is taken again when its file was deleted', async () => {
    const locks = new VifLocks(directory);
    const [near, far] = socketPair();
    const worker = await world.worker(locks);
    worker.worker.accept(far);
    const supervisor = await world.supervisor(near);
    const places = [7, 8].map(
      (domid) => ({ id: `vif${domid}.0`, domid, handle: 0, path: world.node(domid) }) as const,
    );
    for (const place of places) {
      await world.settled((await world.guest(place.domid)).connect(world.toolstack));
      expect(await world.during(supervisor.found(place, false))).toBe('served');
    }
    rmSync(join(directory, 'vifs.lock'));
    for (const place of places) expect(locks.holder(place)).toBeUndefined();
    await world.hypervisor.advance(300);
    for (const place of places) expect(locks.holder(place)).toBe(process.pid);
    // While it cannot be taken, that is a fault.
    rmSync(join(directory, 'vifs.lock'));
    mkdirSync(join(directory, 'vifs.lock'));
    await world.hypervisor.advance(500);
    rmdirSync(join(directory, 'vifs.lock'));
    await world.hypervisor.advance(300);
    expect(worker.events.filter((event) => event.startsWith('worker'))).toEqual([
      'worker ERR_JOURNAL',
      'worker mended ERR_JOURNAL',
    ]);
    for (const place of places) expect(locks.holder(place)).toBe(process.pid);
  });

  it('is done without while its file cannot be used; then the worker ends with its supervisor', async () => {
    mkdirSync(join(directory, 'vifs.lock'));
    const [near, far] = socketPair();
    const worker = await world.worker(new VifLocks(directory));
    worker.worker.accept(far);
    const supervisor = await world.supervisor(near);
    await world.settled((await world.guest(7)).connect(world.toolstack));
    await world.during(supervisor.discovery.open());
    expect(worker.events).toEqual(['vif7.0 attached']);
    await world.hypervisor.advance(300);
    expect(worker.events.at(-1)).toBe('worker ERR_JOURNAL');
    await world.end(supervisor);
    await world.calm();
    expect(worker.ended).toBe(1);
  });
});
