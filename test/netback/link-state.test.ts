import { afterEach, describe, expect, it } from 'vitest';
import { JOURNAL_VERSION, LAYOUTS } from '../../lib/durable/layout.js';
import { VifdError } from '../../lib/errors.js';
import { pair } from '../../lib/ports/pair.js';
import type { PortTrouble } from '../../lib/ports/port.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const FRONT = '/local/domain/7/device/vif/0';
const OLD = 1000;

describe('the link of a vif', () => {
  let world: World;
  afterEach(() => world.close());

  const write = async (path: string, value: string) => {
    await world.settled(world.toolstack.store.write(path, value));
    await world.settle();
  };
  const vif = () => world.netback.vifs.get('vif7.0')!;
  const port = () => world.port('vif7.0');
  const isUp = () => port().carriers.at(-1);
  const frame = (seed: number) => new Uint8Array(60).fill(seed);

  async function create(domid = 7): Promise<void> {
    const [front, back] = [frontendVifPath(domid, 0), backendVifPath(0, domid, 0)];
    const keys = { frontend: front, 'frontend-id': `${domid}`, online: '1', state: '1' };
    await world.settled(
      world.toolstack.store.transaction(async (view) => {
        await view.write(`${front}/state`, '1');
        for (const [key, value] of Object.entries(keys)) await view.write(`${back}/${key}`, value);
      }),
    );
    await world.settle();
  }
  async function begin(): Promise<void> {
    world = await World.open();
    await world.start('copy');
    await create();
  }
  /** A guest with buffers for frames. */
  async function join(buffers = 256, domid = 7): Promise<RawGuest> {
    const guest = await world.guest(domid);
    await world.settled(guest.connect(world.toolstack, { 'feature-rx-notify': '1' }));
    await world.settle();
    guest.post(Array.from({ length: buffers }, (_, page) => guest.ref(page)));
    await world.settle();
    return guest;
  }
  async function leave(): Promise<void> {
    for (const state of ['5', '6']) await write(`${FRONT}/state`, state);
  }
  const sendOld = (frames = OLD) => {
    for (let i = 0; i < frames; i++) port().put(frame(0x11));
  };
  /** First bytes of the frames that have reached a guest with fresh buffers. */
  const came = (guest: RawGuest) =>
    guest.rxResponses().map((_, page) => guest.pages.bytes[page * 4096] as number);

  it('is down until a guest connects, and again once it has closed, and up for its next connection', async () => {
    await begin();
    expect(port().carriers).toEqual([false]);
    expect(vif().show().link).toBe('down');
    await join();
    expect(port().carriers).toEqual([false, true]);
    expect(vif().show().link).toBe('up');
    await leave();
    expect(port().carriers).toEqual([false, true, false]);
    await write(`${FRONT}/state`, '1');
    expect(port().carriers).toEqual([false, true, false]);
    await join();
    expect(port().carriers).toEqual([false, true, false, true]);
  });

  it('is down once the guest has broken the protocol, until it connects again', async () => {
    await begin();
    const guest = await join();
    guest.send([{ ref: 0xdead }]);
    await world.settle();
    expect(vif().state).toBe('stopped');
    expect(isUp()).toBe(false);
    sendOld();
    await leave();
    await write(`${FRONT}/state`, '1');
    const next = await join();
    expect(isUp()).toBe(true);
    expect(came(next)).toEqual([]);
  });

  it('is down once an operator has closed the vif', async () => {
    await begin();
    await join();
    await world.settled(vif().close());
    expect(isUp()).toBe(false);
  });

  it.each(['killed', 'stopped'] as const)(
    'stays up over a process that is %s, without a moment of being down',
    async (how) => {
      await begin();
      await join();
      port().put(frame(1));
      await world.settle();
      if (how === 'killed') world.kill();
      else await world.stop();
      await world.start('copy');
      expect(vif().state).toBe('connected');
      expect(port().carriers).toEqual([false, true, true]);
    },
  );

  it('is taken down by a process that finds its guest closed', async () => {
    await begin();
    await join();
    world.kill();
    await world.settled(world.toolstack.store.write(`${FRONT}/state`, '6'));
    await world.start('copy');
    expect(port().carriers).toEqual([false, true, false]);
  });

  it('is Closed for a guest that closed while no process ran, even if its port cannot be opened', async () => {
    await begin();
    await join();
    world.kill();
    await world.settled(world.toolstack.store.write(`${FRONT}/state`, '6'));
    const port = () => {
      throw new VifdError('ERR_TAP', 'no descriptor is left', { errno: 'EMFILE' });
    };
    await world.start('copy', [], { port });
    await world.settle();
    expect(await world.settled(world.toolstack.store.read(`${backendVifPath(0, 7, 0)}/state`))).toBe('6');
    expect(world.errors.map(({ code }) => code)).toEqual(['ERR_TAP']);
  });

  it('brings a new connection nothing that was sent before it, shows no hook any of it, and counts it as dropped', async () => {
    await begin();
    const seen: number[] = [];
    vif().hook(({ bytes }) => {
      seen.push(bytes[0] as number);
      return 'pass';
    });
    sendOld();
    const guest = await join();
    port().put(frame(2));
    await world.settle();
    expect(came(guest)).toEqual([2]);
    expect(seen).toEqual([2]);
    expect(vif().stats.toGuest).toMatchObject({ frames: 1, dropped: OLD });
    await leave();
    sendOld();
    await write(`${FRONT}/state`, '1');
    sendOld();
    const next = await join();
    port().put(frame(3));
    await world.settle();
    expect(came(next)).toEqual([3]);
    expect(seen).toEqual([2, 3]);
    expect(vif().stats.toGuest).toMatchObject({ frames: 2, dropped: 3 * OLD });
  });

  it('drops what was sent before in batches of the largest frames, too', async () => {
    await begin();
    for (let i = 0; i < 64; i++) port().put(new Uint8Array(65_535 - VNET_HEADER_BYTES).fill(0x11));
    const guest = await join();
    port().put(frame(2));
    await world.settle();
    expect(came(guest)).toEqual([2]);
  });

  it.each([
    ['with a journal, before its guest had any frame', true, false],
    ['with a journal', true, true],
    ['without a journal, before its guest had any frame', false, false],
    ['without a journal', false, true],
    ['with a damaged journal, before its guest had any frame', 'damaged', false],
  ])('keeps what waits for a connection that a next process resumes: %s', async (_what, journals, moved) => {
    world = await World.open();
    if (!journals) world.journals = undefined as never;
    await world.start('copy');
    await create();
    // Its buffers are used up.
    const guest = await join(moved ? 1 : 0);
    if (moved) port().put(frame(1));
    await world.settle();
    world.kill();
    port().put(frame(2));
    port().put(frame(3));
    if (journals === 'damaged')
      world.journals.open('vif7.0', LAYOUTS[JOURNAL_VERSION].vif.bytes).bytes.fill(0xa5);
    await world.start('copy');
    guest.post([guest.ref(10), guest.ref(11)]);
    await world.settle();
    expect(guest.rxResponses()).toHaveLength(moved ? 3 : 2);
    expect([10, 11].map((page) => guest.pages.bytes[page * 4096])).toEqual([2, 3]);
  });

  it('delivers what waits for a connection that an earlier version began, and whose guest has had no frame yet', async () => {
    await begin();
    const guest = await join(1);
    port().put(new Uint8Array(9000).fill(5));
    await world.settle();
    expect(guest.rxResponses()).toHaveLength(0);
    world.kill();
    port().put(new Uint8Array(60).fill(6));
    // An earlier version, which did not know the word, has left it 0 as this one does.
    const { words, bytes } = LAYOUTS[JOURNAL_VERSION].vif;
    const journal = world.journals.open('vif7.0', bytes);
    expect(new Uint32Array(journal.bytes.buffer)[words.at.fresh]).toBe(0);
    await world.start('copy');
    guest.post([1, 2, 3].map((page) => guest.ref(page)));
    await world.settle();
    expect([0, 1, 2, 3].map((page) => guest.pages.bytes[page * 4096])).toEqual([5, 5, 5, 6]);
  });

  it('brings nothing old to a connection that began while no process ran', async () => {
    await begin();
    await join();
    port().put(frame(1));
    await world.settle();
    world.kill();
    sendOld(20);
    await world.start('copy', [], { accept: () => Promise.resolve(false) });
    await world.stop();
    // As a guest that does not wait for the backend (mini-os after kexec).
    const next = await join();
    sendOld(20);
    await world.start('copy');
    await world.settle();
    port().put(frame(2));
    await world.settle();
    expect(came(next)).toEqual([2]);
  });

  it('drops and counts what is sent to a guest behind a pair that is not connected, without a fault', async () => {
    const ends = pair();
    world = await World.open();
    await world.start('copy', [], { port: ({ domid }) => ends[domid - 7]! });
    await create(7);
    await create(8);
    const guest = await join();
    expect([...world.netback.vifs.values()].map((one) => one.show().link)).toEqual(['up', 'down']);
    for (let i = 0; i < 3; i++) guest.send([{ page: 200 }]);
    await world.settle();
    expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 0, 0]);
    expect(vif().stats.fromGuest).toMatchObject({ frames: 0, dropped: 3 });
    const other = await join(256, 8);
    guest.send([{ page: 200 }]);
    await world.settle();
    expect(other.rxResponses()).toHaveLength(1);
    expect(world.errors).toEqual([]);
  });

  it('keeps the port that an earlier process made for a vif whose guest has not connected', async () => {
    await begin();
    await write(`${backendVifPath(0, 7, 0)}/bridge`, 'xenbr0');
    world.kill();
    const removed: string[] = [];
    await world.start('copy', [], { removeLeftPort: (id) => void removed.push(id) });
    expect(vif().bridge).toBe('xenbr0');
    expect(removed).toEqual([]);
  });

  it('keeps what comes for a connection whose port was lost and opened anew', async () => {
    const made: LostPort[] = [];
    world = await World.open();
    await world.start('copy', [], {
      port: () => {
        const next = new LostPort();
        made.push(next);
        // It came before vifd had attached to the guest again.
        if (made.length > 1) next.put(frame(2));
        return next;
      },
    });
    await create();
    const guest = await join(0);
    made[0]!.lose();
    await world.settle();
    guest.post([guest.ref(10)]);
    await world.settle();
    expect(made).toHaveLength(2);
    expect(made[1]!.carriers).toEqual([true]);
    expect(guest.pages.bytes[10 * 4096]).toBe(2);
  });
});

/** A port that can be lost, as a tap that is deleted. */
class LostPort extends TestPort {
  #listener: (trouble: PortTrouble | undefined) => void = () => {};

  follow(listener: (trouble: PortTrouble | undefined) => void): Disposable {
    this.#listener = listener;
    return { [Symbol.dispose]: () => {} };
  }

  lose(): void {
    this.#listener({ error: new VifdError('ERR_TAP', 'lost'), lost: true });
  }
}
