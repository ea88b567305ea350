import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BATCH_SLOTS, READ_BYTES } from '../../lib/netback/frames/batch-memory.js';
import { DRAIN_MS, STALL_MS } from '../../lib/netback/queue/stall-timer.js';
import { Host } from '../guests/host.js';
import { ScriptedGuest } from '../guests/scripted-guest.js';

const FRAME = Uint8Array.from({ length: 100 }, (_, i) => i);

describe.each([
  ['that notifies when it posts buffers', true],
  ['without feature-rx-notify', false],
] as const)('a guest %s', (_name, tells) => {
  let host: Host;
  let guest: ScriptedGuest;
  beforeEach(async () => {
    host = new Host();
    await host.create();
    guest = new ScriptedGuest(host);
    const keys = guest.offer(1);
    const features = {
      'request-rx-copy': 1,
      'feature-sg': 1,
      ...(tells && { 'feature-rx-notify': 1 }),
      state: 4,
    };
    await host.done(guest.write({ ...keys, ...features }), 100);
    await host.run(20);
    expect(host.vif?.state).toBe('connected');
  });
  afterEach(() => host.stop());

  const post = (count: number) => {
    const from = guest.rings.rxResponses().length;
    guest.rings.post(
      Array.from({ length: count }, (_, i) => guest.rings.ref(from + i)),
      !tells,
    );
  };
  const dropped = () => host.vif?.stats.toGuest.dropped;

  it('gets what waits soon after it posts a buffer', async () => {
    host.port?.put(FRAME);
    await host.run(500);
    expect(guest.rings.rxResponses()).toEqual([]);
    post(1);
    await host.run(40);
    expect(guest.rings.rxResponses()).toMatchObject([{ status: 100 }]);
    expect(dropped()).toBe(0);
  });

  it('gets a frame of several slots once there are enough', async () => {
    host.port?.put(new Uint8Array(9000));
    for (const buffers of [1, 1]) {
      post(buffers);
      await host.run(40);
      expect(guest.rings.rxResponses()).toEqual([]);
    }
    post(1);
    await host.run(40);
    expect(guest.rings.rxResponses()).toHaveLength(3);
  });

  it('has one batch pending at most, whatever waits in the port', async () => {
    for (let i = 0; i < 100; i++) host.port?.put(new Uint8Array(60_000));
    post(1);
    await host.run(40);
    const held = host.vif?.show().connection?.queues[0]?.pendingFrames ?? 0;
    expect(held).toBeGreaterThan(0);
    expect(held * 60_000).toBeLessThan(READ_BYTES);
    expect(host.port?.queued).toBe(100 - held);
  });

  it('loses what waits for longer than 10 s, pending or not read yet, and gets what comes later', async () => {
    host.port?.put(new Uint8Array(9000));
    post(1);
    await host.run(100);
    host.port?.put(FRAME);
    await host.run(DRAIN_MS + 100);
    expect(dropped()).toBe(2);
    expect(host.port?.queued).toBe(0);
    host.port?.put(FRAME);
    await host.run(40);
    expect(guest.rings.rxResponses()).toMatchObject([{ status: 100 }]);
    expect(dropped()).toBe(2);
  });

  it('loses what a program sends, too, once it has waited for longer than 10 s', async () => {
    post(BATCH_SLOTS);
    await host.run(40);
    // The last one is left behind by a turn that ends without buffers.
    for (let i = 0; i <= BATCH_SLOTS; i++) expect(host.vif?.send(FRAME)).toBe(true);
    await host.run(40);
    expect(host.vif?.stats.toGuest.frames).toBe(BATCH_SLOTS);
    await host.run(DRAIN_MS + 100);
    expect(dropped()).toBe(1);
    // More than a turn drops.
    for (let i = 0; i < 600; i++) host.vif?.send(FRAME);
    await host.run(2 * DRAIN_MS + 200);
    expect(dropped()).toBe(601);
  });

  it('that takes nothing for 60 s is stalled, if it notifies; too few buffers do not end that', async () => {
    for (let waited = 0; waited < STALL_MS; waited += DRAIN_MS) {
      host.port?.put(new Uint8Array(9000));
      if (waited === DRAIN_MS) post(1);
      await host.run(DRAIN_MS + 100);
    }
    expect(dropped()).toBe(6);
    const stalls = host.errors.filter((error) => /takes no frames for 60 s: its link is down/.test(error));
    expect(stalls).toHaveLength(tells ? 1 : 0);
    expect(host.port?.carriers).toEqual(tells ? [false, true, false] : [false, true]);
    post(2);
    host.port?.put(new Uint8Array(9000));
    await host.run(40);
    expect(guest.rings.rxResponses()).toHaveLength(3);
    expect(dropped()).toBe(6);
    expect(host.port?.carriers).toEqual(tells ? [false, true, false, true] : [false, true]);
    expect(host.recovered).toEqual(tells ? [0] : []);
  });
});
