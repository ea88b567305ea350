import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  RING_REQ_PROD,
  RING_RSP_PROD,
  RX_FLAG_CSUM_BLANK,
  RX_FLAG_DATA_VALIDATED,
  RX_FLAG_EXTRA_INFO,
  RX_FLAG_MORE_DATA,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_DATA_VALIDATED,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import type { TestPort } from '../../worlds/model/test-port.js';

/**
 * For rings that need several batches. Before V8 has compiled them, a batch uses more than a slice of the loop, and later rounds make up
 * for it: seen 3 to 33 ms on a busy machine, and `settle` waits 25.
 */
const PATIENCE_MS = 2000;

/** An Ethernet, IPv4 and TCP header, and bytes behind them. */
function tcpFrame(bytes: number): Uint8Array {
  const frame = Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + 7) & 0xff);
  frame.set([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6], 12);
  frame[14 + 20 + 12] = 0x50;
  return frame;
}

function words(header: Uint8Array): Record<string, number> {
  const view = new DataView(header.buffer, header.byteOffset);
  const le = true;
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    headers: view.getUint16(2, le),
    gsoSize: view.getUint16(4, le),
    csumStart: view.getUint16(6, le),
    csumOffset: view.getUint16(8, le),
  };
}

const CASES = MACHINES.flatMap(([name, make]) =>
  (['copy', 'map'] as const).map((payload) => [payload, name, make] as const),
);

describe.each(CASES)('frames, payload by %s, on %s', (payload, _name, machine) => {
  let world: World;
  let guest: RawGuest;
  let port: TestPort;
  beforeEach(async () => {
    world = await World.open(machine());
    guest = await world.guest(7);
    // The indices wrap within the first frames.
    guest.beginAt(0xfffffffe);
    await world.start(payload, [guest]);
    port = world.port('vif7.0');
  });
  afterEach(() => world.close());

  /** Lays a frame over the guest's pages from page 0 on, 4096 bytes a slot. */
  function paint(frame: Uint8Array): void {
    guest.pages.bytes.set(frame);
  }

  it('from the guest reach the port as they are, and get responses in order', async () => {
    const frame = tcpFrame(60);
    paint(frame);
    guest.send([
      { size: 60, id: 11 },
      { size: 60, id: 5 },
      { size: 60, id: 8 },
    ]);
    await world.settle();
    expect(port.written).toEqual([frame, frame, frame]);
    expect(guest.txResponses(0xfffffffe)).toEqual([
      { id: 11, status: 0 },
      { id: 5, status: 0 },
      { id: 8, status: 0 },
    ]);
    expect(guest.events).toBeGreaterThan(0);
  });

  it('of many slots and GSO from the guest cross as one, with NULL responses for extras', async () => {
    const frame = tcpFrame(10_000);
    // PSH and ACK without CWR, so that the vnet header has no ECN bit.
    frame[47] = 0x18;
    paint(frame);
    const flags = TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED | TX_FLAG_EXTRA_INFO | TX_FLAG_MORE_DATA;
    guest.send([
      { size: 10_000, flags, page: 0, id: 1 },
      { words: [1 | (1448 << 16), 1, 0] },
      { size: 4096, flags: TX_FLAG_MORE_DATA, page: 1, id: 2 },
      { size: 10_000 - 8192, page: 2, id: 3 },
    ]);
    await world.settle();
    expect(port.written).toHaveLength(1);
    expect(Buffer.compare(port.written[0], frame)).toBe(0);
    expect(words(port.headers[0])).toEqual({
      flags: 1,
      gsoType: 1,
      headers: 54,
      gsoSize: 1448,
      csumStart: 34,
      csumOffset: 16,
    });
    expect(guest.txResponses(0xfffffffe).map(({ status }) => status)).toEqual([0, 1, 0, 0]);
  });

  it('from the guest that are too short, or have more than 19 slots, get the response error', async () => {
    guest.send([{ size: 13, id: 1 }]);
    const tail = Array.from({ length: 19 }, (_, i) => ({ size: 100, flags: i < 18 ? TX_FLAG_MORE_DATA : 0 }));
    guest.send([{ size: 2000, flags: TX_FLAG_MORE_DATA, id: 2 }, ...tail]);
    guest.send([{ size: 60, id: 3 }]);
    await world.settle();
    expect(port.written).toHaveLength(1);
    const statuses = guest.txResponses(0xfffffffe).map(({ status }) => status);
    expect(statuses).toEqual([-1, ...Array(20).fill(-1), 0]);
    expect(world.netback.vifs.get('vif7.0')?.stats.fromGuest).toMatchObject({ frames: 1, errors: 2 });
  });

  it('from the guest with a slot larger than what is left get the response error', async () => {
    guest.send([
      { size: 100, flags: TX_FLAG_MORE_DATA, id: 1 },
      { size: 200, id: 2 },
    ]);
    await world.settle();
    expect(port.written).toHaveLength(0);
    expect(guest.txResponses(0xfffffffe).map(({ status }) => status)).toEqual([-1, -1]);
  });

  it('with slots of no bytes are taken', async () => {
    const frame = tcpFrame(60);
    paint(frame);
    guest.send([{ size: 60, flags: TX_FLAG_MORE_DATA }, { size: 0, flags: TX_FLAG_MORE_DATA }, { size: 0 }]);
    await world.settle();
    expect(port.written).toEqual([frame]);
  });

  it('more than a batch all get responses', async () => {
    guest.send(Array.from({ length: 256 }, (_, i) => ({ size: 60, id: i })));
    await world.settle();
    await expect.poll(() => port.written, { timeout: PATIENCE_MS }).toHaveLength(256);
    expect(guest.txResponses(0xfffffffe).map(({ id }) => id)).toEqual(
      Array.from({ length: 256 }, (_, i) => i),
    );
  });

  it('to the guest fill its buffers, GSO extra in the second slot', async () => {
    guest.post([0, 1, 2, 3, 4].map((page) => guest.ref(page)));
    const small = tcpFrame(60);
    const large = tcpFrame(9000);
    port.put(small);
    // NEEDS_CSUM, TCPv4, headers 54; segments of 1448, csum at 34 + 16.
    port.put(large, [1 | (1 << 8) | (54 << 16), 1448 | (34 << 16), 16]);
    await world.settle();
    const blank = RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED;
    expect(guest.rxResponses(0xfffffffe)).toEqual([
      { id: 0xfe, offset: 0, flags: 0, status: 60 },
      { id: 0xff, offset: 0, flags: blank | RX_FLAG_EXTRA_INFO | RX_FLAG_MORE_DATA, status: 4096 },
      // The extra: type and flags, size; GSO type.
      { id: 1, offset: 1448, flags: 1, status: 0 },
      { id: 1, offset: 0, flags: RX_FLAG_MORE_DATA, status: 4096 },
      { id: 2, offset: 0, flags: 0, status: 9000 - 8192 },
    ]);
    const bytes = guest.pages.bytes;
    expect(bytes.slice(0, 60)).toEqual(small);
    const got = Buffer.concat([
      bytes.subarray(4096, 8192),
      bytes.subarray(3 * 4096, 4 * 4096),
      bytes.subarray(4 * 4096, 4 * 4096 + 808),
    ]);
    expect(Buffer.compare(got, large)).toBe(0);
  });

  it('to the guest wait in the port while it posts no buffers', async () => {
    for (let i = 0; i < 500; i++) port.put(tcpFrame(60));
    await world.settle();
    expect(port.queued).toBe(500);
    guest.post(Array.from({ length: 10 }, (_, i) => guest.ref(i)));
    await world.settle();
    expect(guest.rx[RING_RSP_PROD]).toBe(8);
    // Frames that were read and did not fit are one batch at most.
    expect(port.queued).toBeGreaterThanOrEqual(500 - 64);
    guest.post(Array.from({ length: 246 }, (_, i) => guest.ref(i)));
    await world.settle();
    await expect.poll(() => guest.rxResponses(0xfffffffe), { timeout: PATIENCE_MS }).toHaveLength(256);
  });

  it('to the guest that need more buffers than there are wait for them', async () => {
    guest.post([guest.ref(0), guest.ref(1)]);
    port.put(tcpFrame(9000));
    await world.settle();
    expect(guest.rxResponses(0xfffffffe)).toHaveLength(0);
    guest.post([guest.ref(2)]);
    await world.settle();
    expect(guest.rxResponses(0xfffffffe).map(({ status }) => status)).toEqual([4096, 4096, 808]);
  });
});

describe('offloads', () => {
  const asked = async (keys: Record<string, string>) => {
    const world = await World.open();
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, keys));
    await world.start('copy');
    const { onReadable: _, ...options } = world.port('vif7.0').options!;
    await world.close();
    return options;
  };

  it('of the port follow what the guest can take', async () => {
    expect(await asked({})).toMatchObject({ checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true });
    expect(await asked({ 'feature-sg': '0' })).toMatchObject({ gsoV4: false, gsoV6: false });
    expect(await asked({ 'feature-no-csum-offload': '1' })).toMatchObject({ checksumV4: false });
    expect(await asked({ 'feature-ipv6-csum-offload': '0' })).toMatchObject({ checksumV6: false });
  });

  it('that contradict the frame cost the guest that frame only', async () => {
    const world = await World.open();
    const guest = await world.guest(7);
    await world.start('copy', [guest]);
    guest.send([{ size: 60, flags: TX_FLAG_CSUM_BLANK }, { size: 60 }]);
    await world.settle();
    expect(world.port('vif7.0').written).toHaveLength(1);
    expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 0]);
    expect(world.netback.vifs.get('vif7.0')?.stats.fromGuest).toMatchObject({ frames: 1, dropped: 1 });
    await world.close();
  });
});

describe('hooks', () => {
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    world = await World.open();
    guest = await world.guest(7);
    await world.start('map', [guest]);
  });
  afterEach(() => world.close());

  it('see frames of both directions, drop them and replace them', async () => {
    const vif = world.netback.vifs.get('vif7.0')!;
    const seen: string[] = [];
    const hook = vif.hook((frame, direction) => {
      seen.push(`${direction} ${frame.bytes.length}`);
      if (frame.bytes[0] === 1) return 'drop';
      return direction === 'from-guest' ? new Uint8Array(2000).fill(9) : 'pass';
    });
    guest.pages.bytes[4096] = 1;
    guest.send([{ size: 60 }, { size: 70, page: 1 }]);
    guest.post([guest.ref(3)]);
    world.port('vif7.0').put(new Uint8Array(80));
    await world.settle();
    expect(seen.sort()).toEqual(['from-guest 60', 'from-guest 70', 'to-guest 80']);
    expect(world.port('vif7.0').written).toEqual([new Uint8Array(2000).fill(9)]);
    expect(guest.rxResponses().map(({ status }) => status)).toEqual([80]);
    hook[Symbol.dispose]();
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(seen).toHaveLength(3);
    expect(vif.stats.fromGuest).toMatchObject({ frames: 2, filtered: 1, dropped: 0 });
  });

  it('that throw lose that frame, are reported, and do no more harm', async () => {
    const vif = world.netback.vifs.get('vif7.0')!;
    using _hook = vif.hook(() => {
      throw new Error('hook is broken');
    });
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(world.errors).toEqual([
      expect.objectContaining({ code: 'ERR_HOOK', message: expect.stringContaining('hook is broken') }),
    ]);
    expect(vif.stats.fromGuest).toMatchObject({ frames: 0, filtered: 0, hookErrors: 1 });
    expect(guest.txResponses().map(({ status }) => status)).toEqual([0]);
    expect(vif.state).toBe('connected');
  });

  it('by iteration give copies, as many as were asked for', async () => {
    const vif = world.netback.vifs.get('vif7.0')!;
    const stop = new AbortController();
    const frames = vif.frames({ direction: 'from-guest', signal: stop.signal, limit: 2 });
    guest.send([{ size: 60 }, { size: 61 }, { size: 62 }]);
    await world.settle();
    guest.pages.bytes.fill(0xee);
    const first = await frames.next();
    expect(first.value.bytes).toEqual(new Uint8Array(60));
    expect((await frames.next()).value.bytes).toHaveLength(61);
    stop.abort();
    expect(await frames.next()).toMatchObject({ done: true });
  });
});

describe('attaching', () => {
  it('continues from rsp_prod after a kill: frames with a response are not repeated, others are', async () => {
    const world = await World.open();
    const guest = await world.guest(7);
    guest.beginAt(0xfffffff0);
    await world.start('copy', [guest]);
    guest.send(Array.from({ length: 20 }, (_, i) => ({ size: 60, id: i })));
    await world.settle();
    world.kill();
    guest.send(Array.from({ length: 30 }, (_, i) => ({ size: 60, id: 20 + i })));
    await world.settle();
    expect(world.port('vif7.0').written).toHaveLength(20);

    await world.start('copy');
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([true, true]);
    expect(world.port('vif7.0').written).toHaveLength(50);
    expect(guest.txResponses(0xfffffff0).map(({ id }) => id)).toEqual(
      Array.from({ length: 50 }, (_, i) => i),
    );
    expect(await world.settled(world.toolstack.store.read('/local/domain/0/backend/vif/7/0/state'))).toBe(
      '4',
    );
    await world.close();
  });

  it('is refused when req_prod - rsp_prod exceeds the ring, in either ring', async () => {
    for (const ring of ['tx', 'rx'] as const) {
      const world = await World.open();
      const guest = await world.guest(7);
      guest[ring][RING_REQ_PROD] = guest[ring][RING_RSP_PROD] + 257;
      await world.start('copy', [guest]);
      expect(world.netback.vifs.get('vif7.0')?.reason).toMatch(/req_prod - rsp_prod exceeds the ring/);
      await world.close();
    }
  });

  it('takes a ring that is exactly full', async () => {
    const world = await World.open();
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack));
    guest.send(Array.from({ length: 256 }, () => ({ size: 60 })));
    await world.start('copy');
    expect(guest.txResponses()).toHaveLength(256);
    await world.close();
  });

  it('works with split event channels', async () => {
    const world = await World.open();
    const guest = await world.guest(7);
    const tx = guest.xen.events.bindUnbound(0, () => tx.unmask());
    const rx = guest.xen.events.bindUnbound(0, () => rx.unmask());
    await world.settled(
      guest.connect(world.toolstack, { 'event-channel-tx': `${tx.port}`, 'event-channel-rx': `${rx.port}` }),
    );
    await world.start('copy');
    guest.send([{ size: 60 }]);
    tx.notify();
    guest.post([guest.ref(1)]);
    rx.notify();
    world.port('vif7.0').put(new Uint8Array(60));
    await world.settle();
    expect(guest.txResponses()).toHaveLength(1);
    expect(guest.rxResponses()).toHaveLength(1);
    await world.close();
  });
});
