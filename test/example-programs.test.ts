import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { capture } from '../examples/capture.js';
import { dhcpPort } from '../examples/dhcp.js';
import { FlowTable } from '../examples/flow-table.js';
import { LearningSwitch } from '../examples/learning-switch.js';
import { shape } from '../examples/shape.js';
import { statefulFilter } from '../examples/stateful-firewall.js';
import { FramePort } from '../lib/testing/netfront/index.js';
import { MACHINES } from '../worlds/model/machine.js';
import { ExampleWorld, udpFrame } from './examples-worlds.js';

describe.each(MACHINES)('on %s', (_name, makeMachine) => {
  let world: ExampleWorld;
  let host: FramePort;
  let sentOut: Uint8Array[];

  beforeEach(async () => {
    world = await ExampleWorld.open(makeMachine());
    sentOut = [];
    host = new FramePort({ onFrame: (frame) => sentOut.push(frame.slice()) });
  });
  afterEach(async () => {
    await world.close();
    expect(world.errors).toEqual([]);
  });

  it('stateful-firewall.ts lets in only what belongs to a flow that the guest began, for five minutes', async () => {
    let nowMs = 0;
    await world.serve({ port: () => host, filter: statefulFilter(() => nowMs) });
    const guest = await world.guest(7);
    host.send(udpFrame({ from: 9, to: 7 }, { from: 53, to: 4000 }));
    guest.send(udpFrame({ from: 7, to: 9 }, { from: 4000, to: 53 }));
    await world.until(() => sentOut.length === 1);
    host.send(udpFrame({ from: 9, to: 7 }, { from: 54, to: 4000 }));
    host.send(udpFrame({ from: 8, to: 7 }, { from: 53, to: 4000 }));
    host.send(udpFrame({ from: 9, to: 7 }, { from: 53, to: 4000 }, [1]));
    await world.until(() => guest.received.length === 1);
    expect(guest.received[0]?.[42]).toBe(1);
    nowMs = 300_000;
    host.send(udpFrame({ from: 9, to: 7 }, { from: 53, to: 4000 }));
    const filtered = () => world.netback.vifs.get('vif7.0')?.stats.toGuest.filtered;
    await world.until(() => filtered() === 4);
    expect(guest.received).toHaveLength(1);
  });

  it('flow-table.ts counts each flow, and the largest come first', async () => {
    await world.serve({ port: () => host });
    const guest = await world.guest(7);
    using table = new FlowTable(world.netback.vifs.get('vif7.0')!);
    for (const length of [30, 500, 600])
      guest.send(
        udpFrame({ from: 7, to: 9 }, { from: 4000, to: length === 30 ? 53 : 80 }, Array(length).fill(0)),
      );
    host.send(new Uint8Array(60));
    await world.until(() => sentOut.length === 3 && guest.received.length === 1);
    expect(table.largest(2)).toEqual([
      ['17 10.0.0.7:4000 > 10.0.0.9:80', { frames: 2, bytes: 1184 }],
      ['17 10.0.0.7:4000 > 10.0.0.9:53', { frames: 1, bytes: 72 }],
    ]);
    expect(table.flows.get('other')).toEqual({ frames: 1, bytes: 60 });
  });

  it('capture.ts writes a file of pcapng: both directions, cut to 256 bytes, with the time of day', async () => {
    await world.serve({ port: () => host });
    const guest = await world.guest(7);
    const chunks: Buffer[] = [];
    const file = new Writable({
      write(chunk, _encoding, done) {
        chunks.push(chunk);
        done();
      },
    });
    const stop = new AbortController();
    const missed = capture(world.netback.vifs.get('vif7.0')!, world.xen.clock, file, stop.signal);
    guest.send(udpFrame({ from: 7, to: 9 }, { from: 1, to: 2 }, Array(1000).fill(7)));
    await world.until(() => chunks.length === 2);
    host.send(udpFrame({ from: 9, to: 7 }, { from: 2, to: 1 }));
    await world.until(() => chunks.length === 3);
    stop.abort();
    expect(await missed).toBe(0);
    const written = Buffer.concat(chunks);
    for (const ms of packetTimesMs(written)) expect(Math.abs(ms - Date.now())).toBeLessThan(60_000);
    expect(blocksOf(written)).toEqual([
      { type: 0x0a0d0d0a, body: 16 },
      { type: 1, body: 8 },
      { type: 6, body: 288, captured: 256, length: 1042, flags: 1 },
      { type: 6, body: 92, captured: 60, length: 60, flags: 2 },
    ]);
  });

  it('shape.ts drops what exceeds the rate, each way on its own', async () => {
    let nowMs = 0;
    await world.serve({ port: () => host });
    const guest = await world.guest(7);
    const vif = world.netback.vifs.get('vif7.0')!;
    using _shaped = shape(vif, { bytesPerSecond: 1000, burstBytes: 1000, now: () => nowMs });
    const frame = udpFrame({ from: 7, to: 9 }, { from: 1, to: 2 }, Array(358).fill(0)); // 400 bytes
    for (let i = 0; i < 3; i++) guest.send(frame);
    await world.until(() => vif.stats.fromGuest.filtered === 1 && sentOut.length === 2);
    host.send(frame);
    await world.until(() => guest.received.length === 1);
    nowMs = 200;
    for (let i = 0; i < 2; i++) guest.send(frame);
    await world.until(() => vif.stats.fromGuest.filtered === 2);
    expect(sentOut).toHaveLength(3);
  });
  it('learning-switch.ts floods at first, then sends to the one port, and forgets a vif that is gone', async () => {
    const { port, removed } = new LearningSwitch();
    await world.serve({ port }, { gone: removed });
    const [one, two, three] = [await world.guest(1), await world.guest(2), await world.guest(3)];
    one.send(udpFrame({ from: 1, to: 2 }, { from: 1, to: 1 }));
    await world.until(() => two.received.length === 1 && three.received.length === 1);
    two.send(udpFrame({ from: 2, to: 1 }, { from: 1, to: 1 }));
    await world.until(() => one.received.length === 1);
    one.send(udpFrame({ from: 1, to: 2 }, { from: 1, to: 1 }));
    await world.until(() => two.received.length === 2);
    expect([one.received.length, two.received.length, three.received.length]).toEqual([1, 2, 1]);
    removed({ id: 'vif2.0', domid: 2, handle: 0 });
    one.send(udpFrame({ from: 1, to: 2 }, { from: 1, to: 1 }));
    await world.until(() => three.received.length === 2);
    expect(two.received).toHaveLength(2);
  });

  it('dhcp.ts offers an address, and acknowledges it', async () => {
    await world.serve({ port: dhcpPort });
    const guest = await world.guest(7);
    for (const kind of [1, 3]) {
      const bootp = [1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, ...Array<number>(228).fill(0)];
      const payload = [...bootp, 0x63, 0x82, 0x53, 0x63, 53, 1, kind, 255];
      guest.send(udpFrame({ from: 0, to: 255 }, { from: 68, to: 67 }, payload));
    }
    guest.send(udpFrame({ from: 7, to: 9 }, { from: 68, to: 53 }));
    await world.until(() => guest.received.length === 2);
    const told = guest.received.map((frame) => ({
      ports: [frame[35], frame[37]],
      reply: frame[42],
      transaction: Buffer.from(frame.subarray(46, 50)).toString('hex'),
      address: [...frame.subarray(58, 62)].join('.'),
      kind: frame[284],
    }));
    const same = { ports: [67, 68], reply: 2, transaction: 'deadbeef', address: '10.0.0.7' };
    expect(told).toEqual([
      { ...same, kind: 2 },
      { ...same, kind: 5 },
    ]);
  });
});

interface Block {
  readonly type: number;
  readonly body: number;
  readonly captured?: number;
  readonly length?: number;
  readonly flags?: number;
}

/** Reads the blocks of a file of pcapng, as its draft describes them. */
function blocksOf(file: Buffer): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) {
    const [type, bytes] = [file.readUInt32LE(at), file.readUInt32LE(at + 4)];
    expect(file.readUInt32LE(at + bytes - 4)).toBe(bytes);
    const packet = {
      captured: file.readUInt32LE(at + 20),
      length: file.readUInt32LE(at + 24),
      flags: file.readUInt32LE(at + bytes - 12),
    };
    blocks.push({ type, body: bytes - 12, ...(type === 6 ? packet : {}) });
  }
  return blocks;
}

/** Returns when the packets of a file of pcapng were captured, in ms since 1970. */
function packetTimesMs(file: Buffer): number[] {
  const times: number[] = [];
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4))
    if (file.readUInt32LE(at) === 6)
      times.push((file.readUInt32LE(at + 12) * 2 ** 32 + file.readUInt32LE(at + 16)) / 1000);
  return times;
}
