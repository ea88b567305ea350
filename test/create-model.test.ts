import { describe, expect, it } from 'vitest';
import { Netback } from '../lib/netback/netback.js';
import { pair } from '../lib/ports/pair.js';
import { createModel } from '../lib/testing/model/index.js';
import { FramePort } from '../lib/testing/netfront/index.js';

/** An Ethernet frame of 60 bytes that ends with `last`. */
function frameOf(last: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame[59] = last;
  return frame;
}

describe('createModel', () => {
  it('is a world in five lines: what one guest sends, the other receives', async () => {
    await using model = createModel();
    const ends = pair();
    await using _netback = await Netback.open({ xen: model.xen, port: ({ domid }) => ends[domid - 1] });
    const [one, other] = [await model.addGuest(), await model.addGuest()];
    expect([one.id, one.mac, other.id]).toEqual(['vif1.0', '00:16:3e:00:00:01', 'vif2.0']);
    one.send(frameOf(1));
    expect(await other.receive()).toEqual(frameOf(1));
    const waiting = [one.receive(), one.receive()];
    other.send(frameOf(2));
    other.send(frameOf(3));
    expect(await Promise.all(waiting)).toEqual([frameOf(2), frameOf(3)]);
    expect([one.front.violations.total, other.front.violations.total]).toEqual([0, 0]);
  });

  it('lists what a guest received and nobody asked for, up to 1024 frames, and counts the rest', async () => {
    await using model = createModel();
    const port = new FramePort();
    await using _netback = await Netback.open({ xen: model.xen, port: () => port });
    const guest = await model.addGuest({ domid: 7, mac: '00:16:3e:01:02:03' });
    for (let i = 0; i < 1030; i++) port.send(frameOf(i & 0xff));
    while (guest.received.length + guest.missed < 1030) await new Promise<void>((next) => setImmediate(next));
    expect([guest.id, guest.mac, guest.received.length, guest.missed]).toEqual([
      'vif7.0',
      '00:16:3e:01:02:03',
      1024,
      6,
    ]);
    expect(await guest.receive()).toEqual(frameOf(0));
    expect(guest.received).toHaveLength(1023);
  });

  it('gives vifs what the toolstack configured, and other domains other numbers', async () => {
    await using model = createModel();
    await using netback = await Netback.open({ xen: model.xen, port: () => new FramePort() });
    await model.addGuest({ domid: 7, bridge: 'xenbr0', mtu: 9000 });
    const next = await model.addGuest();
    expect(netback.vifs.get('vif7.0')).toMatchObject({ bridge: 'xenbr0', mtu: 9000, state: 'connected' });
    expect(next.id).toBe('vif8.0');
    await next.close();
    expect(netback.vifs.get('vif8.0')?.state).toBe('closed');
  });

  it('calls onFrame in place of receive', async () => {
    await using model = createModel();
    const port = new FramePort();
    await using _netback = await Netback.open({ xen: model.xen, port: () => port });
    const first = await new Promise<number>((resolve) => {
      void model.addGuest({ onFrame: (frame) => resolve(frame[59]) }).then(() => port.send(frameOf(9)));
    });
    expect(first).toBe(9);
  });

  it('refuses a guest that no backend connects, after 5 s, and a domain that is none', async () => {
    await using model = createModel({ autorun: false });
    await expect(model.addGuest({ domid: -1 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
    const adding = expect(model.addGuest()).rejects.toMatchObject({
      code: 'ERR_STATE',
      message: expect.stringContaining('No backend connects vif1.0'),
    });
    await model.advance(4999);
    await model.advance(1);
    await adding;
  });

  it('is deterministic without autorun: nothing moves but by settle and advance', async () => {
    await using model = createModel({ autorun: false, seed: 1 });
    const port = new FramePort();
    const opening = Netback.open({ xen: model.xen, port: () => port });
    await model.settle();
    const netback = await opening;
    const adding = model.addGuest();
    await model.settle();
    const guest = await adding;
    guest.send(frameOf(1));
    port.send(frameOf(2));
    expect(guest.received).toEqual([]);
    await model.settle();
    expect(guest.received).toEqual([frameOf(2)]);
    expect(netback.vifs.get('vif1.0')?.stats.fromGuest.frames).toBe(1);
    const detached = netback[Symbol.asyncDispose]();
    await model.settle();
    await detached;
  });
});
