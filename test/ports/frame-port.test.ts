import { afterEach, describe, expect, it } from 'vitest';
import { type FrameOffload, type FramePort, type FramePortOptions, framePort } from '../../lib/index.js';
import * as netif from '../../lib/protocol/netif.js';
import { removeVif } from '../../lib/testing/netfront/index.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { plainFrame, tcpChecksumHolds, tcpFrame } from '../../worlds/port-end.js';

const { EXTRA_TYPE_GSO, GSO_TYPE_TCPV4 } = netif;
const { TX_FLAG_CSUM_BLANK, TX_FLAG_DATA_VALIDATED, TX_FLAG_EXTRA_INFO, TX_FLAG_MORE_DATA } = netif;
const PAGE = 4096;
const HEADERS = 14 + 20 + 20;

describe.each(MACHINES)('a frame port, on %s', (_name, makeMachine) => {
  let world: World;
  let guest: RawGuest;
  let port: FramePort;
  const got: { frame: Uint8Array; offload: FrameOffload }[] = [];
  afterEach(async () => {
    got.length = 0;
    await world.close();
  });

  const open = async (options: Partial<FramePortOptions> = {}, keys: Record<string, string> = {}) => {
    world = await World.open(makeMachine());
    guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack, keys));
    port = framePort({
      onFrame: (frame, offload) => got.push({ frame: frame.slice(), offload }),
      ...options,
    });
    await world.start('copy', [], { port: () => port });
  };
  const vif = () => world.netback.vifs.get('vif7.0')!;

  /** Sends a TCP frame of two pages with a partial checksum, in segments of 1000 bytes. */
  const sendLong = async (payload: number) => {
    const frame = tcpFrame(payload, 3);
    guest.pages.bytes.set(frame);
    const flags = TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED | TX_FLAG_EXTRA_INFO | TX_FLAG_MORE_DATA;
    guest.send([
      { size: frame.length, flags, page: 0 },
      { words: [EXTRA_TYPE_GSO | (1000 << 16), GSO_TYPE_TCPV4, 0] },
      { size: frame.length - PAGE, page: 1 },
    ]);
    await world.settle();
    return frame;
  };
  const post = (count: number) => guest.post(Array.from({ length: count }, (_, i) => guest.ref(10 + i)));

  it('gives each frame of the guest to the program, in order', async () => {
    await open();
    for (const page of [0, 1, 2]) guest.pages.bytes.set(plainFrame(60 + page, page), page * PAGE);
    guest.send([0, 1, 2].map((page) => ({ page, size: 60 + page })));
    await world.settle();
    expect(got.map(({ frame }) => frame)).toEqual([0, 1, 2].map((page) => plainFrame(60 + page, page)));
    expect(vif().stats.fromGuest).toMatchObject({ frames: 3, dropped: 0 });
  });

  it('completes checksums and cuts long frames into segments', async () => {
    await open();
    const frame = await sendLong(5000);
    expect(got.map(({ frame: { length } }) => length)).toEqual(Array(5).fill(HEADERS + 1000));
    expect(got.every((one) => tcpChecksumHolds(one.frame))).toBe(true);
    expect(got.map(({ offload }) => offload)).toEqual(
      Array(5).fill({ csumStart: 0, csumOffset: 0, gsoType: 'none', gsoSize: 0, validated: true }),
    );
    expect(Buffer.concat(got.map((one) => one.frame.subarray(HEADERS)))).toEqual(
      Buffer.from(frame.subarray(HEADERS)),
    );
  });

  it('gives frames as the guest has sent them where the program asks for that', async () => {
    await open({ offloads: true });
    const frame = await sendLong(5000);
    const offload = { csumStart: 34, csumOffset: 16, gsoType: 'tcp4', gsoSize: 1000, validated: true };
    expect(got).toEqual([{ frame, offload }]);
  });

  it('sends frames to the guest, and completes and cuts what that cannot take', async () => {
    await open({}, { 'feature-no-csum-offload': '1', 'feature-gso-tcpv4': '0' });
    post(8);
    expect(port.send(plainFrame(100, 1))).toBe(true);
    const offload = { csumStart: 34, csumOffset: 16, gsoType: 'tcp4', gsoSize: 1000 } as const;
    expect(port.send(tcpFrame(3000, 1), offload)).toBe(true);
    await world.settle();
    const statuses = guest.rxResponses().map(({ status }) => status);
    expect(statuses).toEqual([100, HEADERS + 1000, HEADERS + 1000, HEADERS + 1000]);
    expect(guest.pages.bytes.slice(10 * PAGE, 10 * PAGE + 100)).toEqual(plainFrame(100, 1));
    expect(tcpChecksumHolds(guest.pages.bytes.slice(11 * PAGE, 11 * PAGE + HEADERS + 1000))).toBe(true);
  });

  it('takes no frame without a guest, and counts those for which it has no room', async () => {
    await open();
    let taken = 0;
    while (port.send(plainFrame(1500, 1)) && taken < 10_000) taken++;
    expect(taken).toBeGreaterThan(500);
    expect(taken).toBeLessThan(1000);
    expect(vif().stats.toGuest.drops.port).toBe(1);
    await world.settled(vif().close());
    expect(port.send(plainFrame(60, 1))).toBe(false);
  });

  it('refuses what is no frame', async () => {
    await open();
    for (const wrong of [new Uint8Array(13), new Uint8Array(65_554), 'frame' as never])
      expect(() => port.send(wrong)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    expect(() => framePort({} as never)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });

  it('may be the port of the vif again, and of one vif at a time', async () => {
    await open();
    await world.stop();
    await world.start('copy', [], { port: () => port });
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(got).toHaveLength(1);
    const batches = {} as never;
    expect(() => port.open(batches, {} as never)).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
  });

  it('reports once that the program throws, rejects too, and that it works again', async () => {
    let fails = true;
    await open({
      name: 'lan',
      onFrame: ({ length }) => {
        if (fails && length === 61) return Promise.reject(new Error('late')) as never;
        if (fails) throw new Error('wrong');
      },
    });
    guest.send([{ size: 60 }, { size: 60 }]);
    await world.settle();
    guest.send([{ size: 61 }]);
    await world.settle();
    const message = 'vif7.0: `onFrame` of port lan threw: wrong. The frame is lost for the program.';
    expect(world.errors.map((error) => [error.code, error.message])).toEqual([['ERR_HOOK', message]]);
    expect(vif().reason).toBe(message);
    fails = false;
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(world.mended).toHaveLength(1);
    expect(vif().faults).toEqual([]);
  });

  it('works again once a frame succeeds by a promise', async () => {
    let fails = true;
    const onFrame = async () => {
      if (fails) throw new Error('late');
    };
    await open({ onFrame: onFrame as () => void });
    for (const isLast of [false, true]) {
      fails = !isLast;
      guest.send([{ size: 60 }]);
      await world.settle();
    }
    expect([world.errors.length, world.mended.length, vif().faults]).toEqual([1, 1, []]);
  });

  it('gives each frame once, in order, though the program ends the netback at the first', async () => {
    const lengths: number[] = [];
    await open({
      onFrame: ({ length }) => {
        if (lengths.push(length) === 1) void world.netback[Symbol.asyncDispose]();
      },
    });
    // More than one batch of the port.
    const sent = Array.from({ length: 120 }, (_, i) => 60 + i);
    guest.send(sent.map((size) => ({ size })));
    await world.settle();
    expect(lengths).toEqual(sent);
  });

  it('reports to the next vif, too, that the program throws', async () => {
    await open({
      onFrame: () => {
        throw new Error('wrong');
      },
    });
    for (const reports of [1, 2]) {
      guest.send([{ size: 60 }]);
      await world.settle();
      expect(world.errors).toHaveLength(reports);
      await world.stop();
      await world.start('copy', [], { port: () => port });
    }
  });

  it('counts what it drops for the vif that it is the port of then', async () => {
    await open();
    while (port.send(plainFrame(1500, 1)));
    expect(vif().stats.toGuest.drops.port).toBe(1);
    await world.settled(
      removeVif(world.toolstack.store, world.toolstack.clock, { domid: 7, handle: 0 }, { force: true }),
    );
    await world.settle();
    expect(world.gone).toEqual(['vif7.0']);
    const next = await world.guest(8);
    await world.settled(next.connect(world.toolstack));
    await world.settle();
    expect(world.netback.vifs.get('vif8.0')?.stats.toGuest.drops.port).toBe(0);
  });
});
