import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JOURNAL_VERSION, LAYOUTS } from '../../lib/durable/layout.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import type { Drops, Flow } from '../../lib/netback/frames/counters.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import { DRAIN_MS } from '../../lib/netback/queue/stall-timer.js';
import { HASH_TYPE_IPV4 } from '../../lib/protocol/control.js';
import { TX_FLAG_CSUM_BLANK } from '../../lib/protocol/netif.js';
import { VNET_FLAG_NEEDS_CSUM, VNET_GSO_UDP_L4 } from '../../lib/protocol/vnet.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { createVif, FramePort, setUpHash } from '../../lib/testing/netfront/index.js';
import type { Xen } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { stacked } from '../stacked-frames.js';
import { QueuesWorld } from './queues-world.js';

const EIO = 5;
const EAGAIN = 11;

/** The reasons of a flow whose counters grew. `dropped` is their sum. */
function reasons({ drops, dropped }: Flow): Partial<Drops> {
  const counted = Object.entries(drops).filter(([, frames]) => frames !== 0);
  expect(counted.reduce((sum, [, frames]) => sum + frames, 0)).toBe(dropped);
  return Object.fromEntries(counted);
}

const reasonsOf = ({ stats }: Pick<Vif, 'stats'>) => [reasons(stats.fromGuest), reasons(stats.toGuest)];

describe('a dropped frame is counted by its reason, and by no other', () => {
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
  const port = () => world.port('vif7.0');

  async function send(frames: number): Promise<void> {
    for (let i = 0; i < frames; i++) guest.send([{ size: 60 }]);
    await world.settle();
  }

  it.each([
    ['takes no more', 'full' as const],
    ['reports it by a status', EAGAIN],
  ])('port: from the guest, the port is full and %s', async (_how, admitted) => {
    await world.start('copy', [guest], { port: () => new FramePort({ admit: () => admitted }) });
    await send(3);
    expect(reasonsOf(vif())).toEqual([{ port: 3 }, {}]);
    expect(world.errors).toEqual([]);
  });

  it('port: to the guest, the port dropped it before vifd could read it: for the vif, and for no queue', async () => {
    const lossy = Object.assign(new TestPort(), { dropped: 0 });
    await world.start('copy', [guest], { port: () => lossy });
    lossy.dropped = 4;
    expect(reasonsOf(vif())).toEqual([{}, { port: 4 }]);
    expect(vif().show()).toMatchObject({ portDropped: 4, stats: { toGuest: { dropped: 4 } } });
    expect(vif().queueStats.map((stats) => reasonsOf({ stats }))).toEqual([[{}, {}]]);
    // Another process has a port that begins at 0, and adds to the last stored counter.
    await world.stop();
    lossy.dropped = 0;
    await world.start('copy', [], { port: () => lossy });
    expect(vif().stats.toGuest.drops.port).toBe(4);
    lossy.dropped = 1;
    await hypervisor.advance(3000);
    world.kill();
    lossy.dropped = 0;
    await world.start('copy', [], { port: () => lossy });
    expect(vif().stats.toGuest.drops.port).toBe(5);
  });

  it('refused: the port refused it', async () => {
    await world.start('copy', [guest], { port: () => new FramePort({ admit: () => EIO }) });
    await send(2);
    expect(reasonsOf(vif())).toEqual([{ refused: 2 }, {}]);
  });

  it('offload: the headers of a frame from the guest contradict its offload', async () => {
    await world.start('copy', [guest]);
    guest.send([{ size: 60, flags: TX_FLAG_CSUM_BLANK }]);
    await send(1);
    expect(reasonsOf(vif())).toEqual([{ offload: 1 }, {}]);
    expect(vif().stats.fromGuest.frames).toBe(1);
  });

  it('offload: the headers of a frame to the guest contradict its offload', async () => {
    await world.start('copy', [guest]);
    guest.post([guest.ref(0)]);
    port().put(new Uint8Array(60), [VNET_FLAG_NEEDS_CSUM, (5000 << 16) >>> 0, 16]);
    await world.settle();
    expect(reasonsOf(vif())).toEqual([{}, { offload: 1 }]);
  });

  it('unsupported: the guest takes no frame of several pages', async () => {
    await world.settled(guest.connect(world.toolstack, { 'feature-sg': '0' }));
    await world.start('copy');
    guest.post([0, 1, 2, 3].map((page) => guest.ref(page)));
    port().put(new Uint8Array(9000));
    await world.settle();
    expect(reasonsOf(vif())).toEqual([{}, { unsupported: 1 }]);
  });

  it('buffers: the guest posts none for 10 s, for frames that were read and for those behind them', async () => {
    await world.start('copy', [guest]);
    guest.post([guest.ref(0)]);
    // Two slots more than the guest has.
    for (let i = 0; i < 3; i++) port().put(new Uint8Array(9000));
    await world.settle();
    expect(reasonsOf(vif())).toEqual([{}, {}]);
    await hypervisor.advance(DRAIN_MS + 100);
    expect(reasonsOf(vif())).toEqual([{}, { buffers: 3 }]);
  });

  it('stale: it was sent to the port before the connection', async () => {
    await world.settled(createVif(world.toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }));
    await world.start('copy');
    for (let i = 0; i < 5; i++) port().put(new Uint8Array(60));
    await world.settled(guest.connect(world.toolstack));
    await world.settle();
    expect(vif().state).toBe('connected');
    expect(reasonsOf(vif())).toEqual([{}, { stale: 5 }]);
  });

  it('detached: a hook detached the guest, with the journal that has the frames’ memory', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vifd-drops-'));
    try {
      world.journals = journalFiles(directory);
      await world.start('copy', [guest]);
      const served = vif();
      let ended: Promise<void> | undefined;
      served.hook(() => {
        ended ??= world.netback[Symbol.asyncDispose]();
        return 'pass';
      });
      guest.post([guest.ref(0)]);
      port().put(new Uint8Array(60));
      await world.settle();
      await ended;
      expect(reasonsOf(served)).toEqual([{}, { detached: 1 }]);
      await world.start('copy');
      expect(reasonsOf(vif())).toEqual([{}, { detached: 1 }]);
    } finally {
      await world.stop();
      rmSync(directory, { recursive: true });
    }
  });

  it('damaged: the journal lists a frame that is to be cut and cannot be', async () => {
    await world.start('copy', [guest]);
    const layers = [{ kind: 'ip4' }, { kind: 'udp' }] as const;
    const { frame, csumStart, csumOffset } = stacked(layers, Array(3000).fill(1), { checksum: 'partial' });
    const gso = VNET_FLAG_NEEDS_CSUM | (VNET_GSO_UDP_L4 << 8);
    // One buffer for the first of its segments: the frame is read, and pending.
    guest.post([guest.ref(0)]);
    port().put(frame, [gso, (1000 | (csumStart << 16)) >>> 0, csumOffset]);
    await world.settle();
    expect(vif().show().connection?.queues[0].pendingFrames).toBe(1);
    world.kill();
    const { queue } = LAYOUTS[JOURNAL_VERSION];
    const { bytes } = world.journals.open('vif7.0.q0', queue.bytes);
    bytes.fill(0, queue.arenas.toGuest.at, queue.arenas.toGuest.at + 65536);
    await world.start('copy');
    guest.post([1, 2, 3].map((page) => guest.ref(page)));
    await world.settle();
    expect(guest.rxResponses()).toHaveLength(1);
    expect(reasonsOf(vif())).toEqual([{}, { damaged: 1 }]);
  });

  it('none: frames that a hook refuses are no drops', async () => {
    await world.start('copy', [guest]);
    vif().hook(() => 'drop');
    guest.post([guest.ref(0)]);
    port().put(new Uint8Array(60));
    await send(1);
    expect(reasonsOf(vif())).toEqual([{}, {}]);
    expect(vif().stats).toMatchObject({ fromGuest: { filtered: 1 }, toGuest: { filtered: 1 } });
  });
});

describe('a dropped frame of a guest that chooses queues', () => {
  const KEY = Uint8Array.from({ length: 40 }, (_, i) => (i * 37 + 11) & 0xff);

  it('queue: the queue that its hash mapping chose has no room, and the frame is counted there', async () => {
    const hypervisor = new ModelHypervisor();
    const world = await QueuesWorld.open(modelMachine(hypervisor), 2);
    await world.start();
    const connection = { queues: 2, control: true, buffersMax: 20, splitChannels: true };
    await world.connect(connection, deafTo(1, hypervisor.open(7)));
    const setUp = { types: HASH_TYPE_IPV4, key: KEY, mapping: [1] };
    world.front.hash.expect(setUp);
    expect(await world.settled(setUpHash(world.front.control!, setUp))).toBe(true);
    for (let round = 0; round < 3; round++) {
      world.host[0].send(100);
      await world.settle();
      await hypervisor.advance(100);
    }
    const stats = world.vif!.queueStats;
    expect(stats.map(({ fromGuest }) => reasons(fromGuest))).toEqual([{}, {}]);
    expect(reasons(stats[0].toGuest)).toEqual({});
    expect(Object.keys(reasons(stats[1].toGuest))).toEqual(['queue']);
    // The guest got the others, or they wait.
    const held = world.vif!.show().connection!.queues[1].pendingFrames;
    expect(stats[1].toGuest.frames + held + stats[1].toGuest.dropped).toBe(300);
    await world.close();
  });

  /** A guest that hears no event of this queue's to-guest ring, and so posts no more buffers there. */
  function deafTo(queue: number, hearing: Xen): Xen {
    let bound = 0;
    const { domid, store, clock, shares, events, grants } = hearing;
    return {
      ...{ domid, store, clock, grants, shares },
      events: {
        bind: (remote, port, onEvent) => events.bind(remote, port, onEvent),
        // Each queue has a channel for either ring, in this order.
        bindUnbound: (remote, onEvent) =>
          events.bindUnbound(remote, bound++ === 2 * queue + 1 ? () => {} : onEvent),
      },
      [Symbol.asyncDispose]: () => hearing[Symbol.asyncDispose](),
    };
  }
});
