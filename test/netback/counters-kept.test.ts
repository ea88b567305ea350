import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Journals } from '../../lib/durable/journal.js';
import { MAGICS } from '../../lib/durable/layout.js';
import { VifdError } from '../../lib/errors.js';
import * as layout from '../../lib/netback/frames/counter-layout.js';
import type { VifStats } from '../../lib/netback/frames/counters.js';
import { Netback } from '../../lib/netback/netback.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import { STALL_MS } from '../../lib/netback/queue/stall-timer.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { Host } from '../guests/host.js';
import { ScriptedGuest } from '../guests/scripted-guest.js';
import { QueuesWorld } from './queues-world.js';

const NAME = 'vif7.0.counters';
const PAGE_BYTES = layout.COUNTER_PAGE_DOUBLES * 8;
/** Of the first queue. */
const AT_FRAMES = layout.AT_QUEUES + layout.AT_FROM_GUEST + layout.AT_FRAMES;

const frames = ({ fromGuest, toGuest }: VifStats) => [fromGuest.frames, toGuest.frames];

describe('counters, when the process is killed at any step', () => {
  /** A burst is a batch in each direction. */
  const BURST = 5;
  const ROUNDS = 2;

  /** Serves a guest, and kills the process at a step. @returns the counters, and the real events. */
  async function serve(killAt: readonly number[]) {
    const host = new Host(killAt);
    await host.create();
    const guest = new ScriptedGuest(host);
    const keys = { ...guest.offer(1), 'request-rx-copy': 1, 'feature-rx-notify': 1, state: 4 };
    await host.done(guest.write(keys), 100);
    const counted: number[][] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await host.run(20);
      const pages = Array.from({ length: BURST }, (_, i) => round * BURST + i);
      host.dare(() => guest.rings.post(pages.map((page) => guest.rings.ref(page))));
      host.dare(() => guest.rings.send(pages.map((page) => ({ size: 60, page }))));
      host.dare(() => {
        for (const page of pages) host.port?.put(new Uint8Array(80).fill(page));
      });
      await host.run(20);
      counted.push(frames(host.vif!.stats));
    }
    const { steps, processes } = host;
    const sent = host.ports.reduce((sum, { written }) => sum + written.length, 0);
    const received = guest.rings.rxResponses().length;
    await host.stop();
    return { counted, sent, received, steps, processes };
  }

  it('never decrease, and are wrong by one batch at most', async () => {
    const whole = await serve([]);
    expect(whole.counted.at(-1)).toEqual([ROUNDS * BURST, ROUNDS * BURST]);
    let off = 0;
    for (let step = 1; step <= whole.steps; step++) {
      const { counted, sent, received, processes } = await serve([step]);
      expect([step, processes]).toEqual([step, 2]);
      counted.forEach(([fromGuest, toGuest], round) => {
        const [before, beforeTo] = counted[round - 1] ?? [0, 0];
        expect([step, fromGuest >= before, toGuest >= beforeTo]).toEqual([step, true, true]);
      });
      const [fromGuest, toGuest] = counted.at(-1)!;
      const [offFrom, offTo] = [Math.abs(sent - fromGuest), Math.abs(received - toGuest)];
      expect([step, offFrom <= BURST, offTo <= BURST]).toEqual([step, true, true]);
      if (offFrom + offTo > 0) off++;
    }
    // Between the batch and its count there are kills.
    expect(off).toBeGreaterThan(0);
  }, 120_000);
});

describe('the counters of a vif', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    guest = await world.guest(7);
  });
  afterEach(() => world.close());

  const vif = () => world.netback.vifs.get('vif7.0') as Vif;
  const page = () => {
    const { bytes } = world.journals.open(NAME, PAGE_BYTES);
    return {
      words: new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 4),
      counts: new Float64Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 8),
    };
  };

  async function send(count: number): Promise<void> {
    for (let i = 0; i < count; i++) guest.send([{ size: 60 }]);
    await world.settle();
  }

  it('stand in its page before it is attached to, and are there without the data path', async () => {
    await world.start('copy', [guest]);
    await send(3);
    expect(page().counts[AT_FRAMES]).toBe(3);
    page().counts[AT_FRAMES] = 1000;
    expect(vif().stats.fromGuest.frames).toBe(1000);
    await send(1);
    expect(vif().show().connection?.queues[0].stats.fromGuest.frames).toBe(1001);
    await world.stop();
    // The port cannot be opened, so that vifd does not attach.
    const port = () => {
      throw new VifdError('ERR_TAP', 'no port', { errno: 'ENODEV' });
    };
    await world.start('copy', [], { port });
    expect([vif().state, vif().stats.fromGuest.frames]).toEqual(['waiting', 1001]);
    expect(vif().queueStats.map(({ fromGuest }) => fromGuest.frames)).toEqual([1001]);
  });

  it('outlive stops and kills, and the vif reports them once it has ended', async () => {
    await world.start('copy', [guest]);
    for (let round = 1; round < 5; round++) {
      await send(10);
      expect(vif().stats.fromGuest).toMatchObject({ frames: 10 * round, bytes: 600 * round });
      const ended = vif();
      if (round % 2 === 0) world.kill();
      else await world.stop();
      await world.start('copy');
      expect(vif().stats.fromGuest.frames).toBe(10 * round);
      if (round % 2 === 1) expect(ended.stats.fromGuest.frames).toBe(10 * round);
    }
    expect(world.errors).toEqual([]);
  });

  it('count stalls for the queue that stalls, once for each report, and over processes', async () => {
    await world.settled(guest.connect(world.toolstack, { 'feature-rx-notify': '1' }));
    await world.start('copy');
    for (const stalls of [1, 2]) {
      for (let waited = 0; waited <= STALL_MS; waited += STALL_MS / 10) {
        world.port('vif7.0').put(new Uint8Array(60));
        await hypervisor.advance(STALL_MS / 10);
      }
      expect(world.errors.filter(({ code }) => code === 'ERR_STALLED')).toHaveLength(stalls);
      expect([vif().stats.stalls, vif().queueStats[0].stalls]).toEqual([stalls, stalls]);
      world.kill();
      await world.start('copy');
      expect(vif().stats.stalls).toBe(stalls);
    }
  });

  it('are in memory where there are no journals', async () => {
    await world.settled(guest.connect(world.toolstack));
    const begin = async () => {
      const xen = hypervisor.open(0);
      const netback = await world.settled(Netback.open({ xen, port: () => new TestPort(), journals: false }));
      await world.settle();
      return { xen, netback };
    };
    const { xen, netback } = await begin();
    await send(3);
    const served = netback.vifs.get('vif7.0')!;
    expect(served.stats.fromGuest.frames).toBe(3);
    await world.settled(netback[Symbol.asyncDispose]());
    await world.settled(xen[Symbol.asyncDispose]());
    expect(served.stats.fromGuest.frames).toBe(3);
    const next = await begin();
    expect(next.netback.vifs.get('vif7.0')?.stats.fromGuest.frames).toBe(0);
    await world.settled(next.netback[Symbol.asyncDispose]());
    await world.settled(next.xen[Symbol.asyncDispose]());
  });

  it.each<[what: string, spoil: (page: { words: Uint32Array; counts: Float64Array }) => void]>([
    ['a count is no number', ({ counts }) => void counts.fill(Number.NaN, AT_FRAMES, AT_FRAMES + 1)],
    ['a count is infinite', ({ counts }) => void counts.fill(Number.POSITIVE_INFINITY, 500, 501)],
    ['a count is negative', ({ counts }) => void counts.fill(-1, AT_FRAMES, AT_FRAMES + 1)],
    ['a count is no whole number', ({ counts }) => void counts.fill(0.5, 511)],
    ['a count is above 2^63', ({ counts }) => void counts.fill(2 ** 64, AT_FRAMES, AT_FRAMES + 1)],
    ['the port’s count is negative', ({ counts }) => void counts.fill(-1, 8, 9)],
    ['its head is noise', ({ words }) => void words.fill(0xa5a5a5a5, 0, 16)],
    ['its file was cut, and is another', ({ words }) => void words.fill(0).fill(0xffffffff, 0, 1)],
    ['it is of another version', ({ words }) => void words.fill(99, 1, 2)],
    ['it is another vif’s', ({ words }) => void words.fill(8, 2, 3)],
  ])('begin at 0 where the page cannot be theirs, which is reported once: %s', async (what, spoil) => {
    await world.start('copy', [guest]);
    await send(3);
    world.kill();
    spoil(page());
    await world.start('copy');
    const code = what.includes('version') ? 'ERR_JOURNAL_VERSION' : 'ERR_JOURNAL';
    const message = expect.stringMatching(/^vif7\.0: its journal of counters .*: they begin at 0$/);
    expect(world.errors).toMatchObject([{ code, message }]);
    expect(world.attached.at(-1)?.resumed).toBe(true);
    expect(frames(vif().stats)).toEqual([0, 0]);
    await send(2);
    world.kill();
    await world.start('copy');
    expect(vif().stats.fromGuest.frames).toBe(2);
    await hypervisor.advance(5000);
    expect(world.errors).toHaveLength(1);
    expect(vif().faults).toEqual([]);
  });

  it('take a page that a process was killed in while it began it for a new one', async () => {
    const { words } = page();
    words.fill(7, 1, 3);
    await world.start('copy', [guest]);
    await send(1);
    expect([world.errors, page().counts[AT_FRAMES]]).toEqual([[], 1]);
    expect(page().words[0]).toBe(MAGICS.counters);
  });

  it('count on above 2^53, where a double is not exact any more', async () => {
    await world.start('copy', [guest]);
    world.kill();
    page().counts[AT_FRAMES] = 2 ** 54;
    await world.start('copy');
    expect([world.errors, vif().stats.fromGuest.frames]).toEqual([[], 2 ** 54]);
  });

  it('are in memory while there is no page to be had, which is reported once, and are added to it later', async () => {
    await world.start('copy', [guest]);
    await send(3);
    world.kill();
    const { journals } = world;
    let full = true;
    let tries = 0;
    world.journals = {
      ...journals,
      open: (name, ...how) => {
        if (name !== NAME || !full) return journals.open(name, ...how);
        tries++;
        throw new VifdError('ERR_JOURNAL', `Journal ${name} cannot be used (ENOSPC).`, { errno: 'ENOSPC' });
      },
    } satisfies Journals;
    await world.start('copy');
    expect(vif().stats.fromGuest.frames).toBe(0);
    await send(2);
    await hypervisor.advance(9000);
    expect(tries).toBeGreaterThan(3);
    expect(world.errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^vif7\.0: .*\(ENOSPC\)/),
    ]);
    expect(vif().stats.fromGuest.frames).toBe(2);
    expect(vif().faults).toEqual(world.errors);
    full = false;
    await hypervisor.advance(3000);
    expect(vif().stats.fromGuest.frames).toBe(5);
    expect([world.mended, vif().faults]).toEqual([world.errors, []]);
    world.kill();
    await world.start('copy');
    expect(vif().stats.fromGuest.frames).toBe(5);
  });

  it('go with the vif: another one of its name begins at 0', async () => {
    await world.start('copy', [guest]);
    await send(3);
    const gone = vif();
    await world.rm('/local/domain/0/backend/vif/7/0');
    expect(world.gone).toEqual(['vif7.0']);
    expect(world.journals.names('vif7.0')).toEqual([]);
    expect(gone.stats.fromGuest.frames).toBe(3);
    guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack));
    await world.settle();
    await send(1);
    expect(vif().stats.fromGuest.frames).toBe(1);
    // Without a guest the counters do not stay either.
    await world.rm('/local/domain/7/device/vif/0');
    expect(world.journals.names('vif7.0')).toEqual([NAME]);
    await world.rm('/local/domain/0/backend/vif/7/0');
    expect(world.journals.names('vif7.0')).toEqual([]);
  });

  it('go when another backend serves it from now on', async () => {
    let accepted = true;
    await world.start('copy', [guest], { accept: () => accepted });
    accepted = false;
    await world.write('/local/domain/0/backend/vif/7/0/bridge', 'br1');
    expect(world.detached).toEqual(['released']);
    expect(world.journals.names('vif7.0')).toEqual([]);
  });
});

describe('the counters of a guest that connects again', () => {
  it('continue, by queue, after the guest connects with fewer queues', async () => {
    const world = await QueuesWorld.open(modelMachine(), 3);
    await world.start();
    await world.connect({ queues: 3 });
    await world.send(50);
    const before = world.vif!.queueStats.map(frames);
    expect(before).toEqual(Array(3).fill([50, 50]));
    await world.settled(world.front.close());
    expect(world.journals.names('vif7.0')).toEqual([NAME]);
    expect(world.vif!.queueStats.map(frames)).toEqual(before);
    await world.connect({ queues: 1 });
    const sent = world.guest[0].generator!.sent;
    for (const port of [world.guest[0], world.host[0]]) port.send(10);
    await world.settle();
    expect(sent).toBe(0);
    expect(world.vif!.queueStats.map(frames)).toEqual([
      [60, 60],
      [50, 50],
      [50, 50],
    ]);
    expect(world.vif!.show().connection?.queues).toHaveLength(1);
    world.kill();
    await world.start();
    expect(frames(world.vif!.stats)).toEqual([160, 160]);
    await world.end();
  });
});
