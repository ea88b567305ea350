import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  FRAME_FIRST_OP,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_END,
  FRAMES_ERRNO,
  FRAMES_MORE,
  FrameBatch,
  frameAt,
} from '../../lib/ports/frame-batch.js';
import type { Port, PortOptions } from '../../lib/ports/port.js';
import { tap } from '../../lib/ports/tap.js';
import { openXen } from '../../lib/xen/native/open.js';
import {
  OP_ARENA,
  OP_HEAD,
  OP_REF,
  OP_SPAN,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
  type Store,
} from '../../lib/xen/seam.js';
import {
  type End,
  EVERYTHING,
  openEnd,
  plainFrame,
  type Received,
  receive,
  send,
  statusOf,
  tcpChecksumHolds,
  tcpFrame,
  tcpHeader,
} from '../../worlds/port-end.js';
import { arena, ip, isLimited, makeTap, withTaps } from '../tap-network.js';

const EIO = 5;
const EBADFD = 77;

const root = fileURLToPath(new URL('../..', import.meta.url));
const xensim = join(
  process.env.VIFD_ADDON ? dirname(resolve(process.env.VIFD_ADDON)) : join(root, 'build', 'Release'),
  'xensim',
);

interface Link {
  readonly mtu: number;
  readonly address: string;
  readonly flags: string[];
  readonly master?: string;
}

function link(name: string): Link | undefined {
  const links = JSON.parse(ip('-j', 'link', 'show')) as (Link & { ifname: string })[];
  return links.find(({ ifname }) => ifname === name);
}

/** Where the kernel has no io_uring both are the same. */
const WAYS = [
  { way: 'written together', ioUring: '1' },
  { way: 'written one by one', ioUring: '0' },
];

/** Two taps in a bridge: frames that are written into one can be read from the other. */
function bridged(offloads: Omit<PortOptions, 'onReadable'> = EVERYTHING): { a: End; b: End; portB: Port } {
  const portA = makeTap({ name: 'ta', bridge: 'br0', up: true });
  const portB = makeTap({ name: 'tb', bridge: 'br0', up: true });
  return { a: openEnd(portA, arena), b: openEnd(portB, arena, offloads), portB };
}

async function until(done: () => boolean): Promise<void> {
  for (let round = 0; round < 400 && !done(); round++) await sleep(5);
  expect(done()).toBe(true);
}

/** Reads until `count` frames have come. */
async function collect(end: End, count: number): Promise<Received[]> {
  const frames: Received[] = [];
  await until(() => {
    frames.push(...receive(end));
    return frames.length >= count;
  });
  return frames;
}

function setUpTests(): void {
  it.each(['', 'a/b', 'with space', 'sixteen-bytes-no', 'tap%d', '..', 'a:b'])(
    'refuses the name %j',
    (name) => {
      expect(() => tap({ name })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
    },
  );

  it('makes a device as it was asked to, which goes when the port is disposed of', async () => {
    const port = makeTap({ name: 'vif7.0', mtu: 9000, mac: 'fe:ff:ff:ff:ff:ff', up: true });
    expect(port.name).toBe('vif7.0');
    expect(link('vif7.0')).toMatchObject({ mtu: 9000, address: 'fe:ff:ff:ff:ff:ff' });
    expect(link('vif7.0')?.flags).toContain('UP');
    await port[Symbol.asyncDispose]();
    await port[Symbol.asyncDispose]();
    expect(link('vif7.0')).toBeUndefined();
  });

  it('leaves the processors that deal with its frames as they are: steering loses frames that were taken', () => {
    const port = makeTap({ name: 'vif7.8', up: true });
    openEnd(port, arena);
    const mask = readFileSync(`/sys/class/net/${port.name}/queues/rx-0/rps_cpus`, 'utf8');
    expect(mask).toMatch(/^[0,\s]+$/);
  });

  it('leaves a persistent device, takes it over again, and removes it when asked to', async () => {
    const options = { name: 'vif7.1', persist: true, bridge: 'br0', up: true };
    await makeTap(options)[Symbol.asyncDispose]();
    expect(link('vif7.1')?.master).toBe('br0');
    // If /sys belongs to another namespace, it does not show which bridge the tap is in.
    execFileSync('mount', ['-t', 'tmpfs', 'none', '/sys/class/net']);
    const again = makeTap(options);
    execFileSync('umount', ['/sys/class/net']);
    await again.remove?.();
    expect(link('vif7.1')).toBeUndefined();
  });

  it('leaves no device behind when it cannot be set up', () => {
    const wrong = { name: 'vif7.2', persist: true, bridge: 'nobridge' };
    expect(() => tap(wrong)).toThrow(
      expect.objectContaining({
        code: 'ERR_TAP',
        message: expect.stringMatching(/vif7\.2.*nobridge.*ENODEV/),
      }),
    );
    expect(link('vif7.2')).toBeUndefined();
    expect(() => tap({ name: 'vif7.2', mac: 'fe:ff' })).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
    expect(() => tap({ name: 'vif7.2', mtu: 12 })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });

  it('begins with its link down, takes it up and down again, and takes frames meanwhile', async () => {
    const carrier = () => readFileSync('/sys/class/net/vif7.5/carrier', 'utf8').trim();
    const port = makeTap({ name: 'vif7.5', up: true });
    expect(carrier()).toBe('0');
    const end = openEnd(port, arena);
    expect(carrier()).toBe('1');
    expect(port.setCarrier?.(false)).toBe(true);
    expect(carrier()).toBe('0');
    // Frames from the guest still go in.
    expect(send(end, [{ frame: plainFrame(60, 1) }])).toBe(1);
    expect(statusOf(end, 0)).toBe(0);
    expect(port.setCarrier?.(true)).toBe(true);
    expect(carrier()).toBe('1');
    await port[Symbol.asyncDispose]();
    expect(port.setCarrier?.(false)).toBe(false);
  });

  it('reports the owner of a device that it cannot open', () => {
    makeTap({ name: 'vif7.3' });
    expect(() => tap({ name: 'vif7.3' })).toThrow(
      expect.objectContaining({
        code: 'ERR_TAP',
        errno: 'EBUSY',
        message: expect.stringContaining('another process'),
      }),
    );
    expect(() => tap({ name: 'br0' })).toThrow(expect.objectContaining({ code: 'ERR_TAP', errno: 'EINVAL' }));
  });

  it('has one user at a time, and another after that', () => {
    const port = makeTap({ name: 'vif7.4' });
    const first = openEnd(port, arena);
    expect(() => openEnd(port, arena)).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
    first.io.close();
    const second = openEnd(port, arena);
    expect(receive(second)).toEqual([]);
    expect(first.io.read()).toBe(0);
  });
}

function trafficTests(): void {
  it('reads nothing, and no error, when there is nothing', () => {
    const end = openEnd(makeTap({ name: 'ta', up: true }), arena);
    expect(end.io.read()).toBe(0);
    expect(end.reads.block[FRAMES_MORE]).toBe(0);
    expect(end.reads.block[FRAMES_ERRNO]).toBe(0);
  });

  it("talks to the kernel's own stack: an ARP request gets its reply", async () => {
    const end = openEnd(makeTap({ name: 'ta', up: true }), arena);
    ip('address', 'add', '10.9.8.1/24', 'dev', 'ta');
    const request = new Uint8Array(60);
    request.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.set([2, 0, 0, 0, 0, 9, 10, 9, 8, 2], 22);
    request.set([10, 9, 8, 1], 38);
    expect(send(end, [{ frame: request }])).toBe(1);
    expect(statusOf(end, 0)).toBe(0);
    const [reply] = await collect(end, 1);
    expect(Array.from(reply.frame.subarray(0, 22))).toEqual([
      2,
      0,
      0,
      0,
      0,
      9,
      ...reply.frame.subarray(6, 12),
      8,
      6,
      0,
      1,
      8,
      0,
      6,
      4,
      0,
      2,
    ]);
    expect(Array.from(reply.frame.subarray(28, 32))).toEqual([10, 9, 8, 1]);
  });

  // More than io_uring's queue holds.
  it.each(WAYS)('carries a batch in order, and passes over length 0, $way', async ({ ioUring }) => {
    process.env.VIFD_IO_URING = ioUring;
    const { a, b } = bridged();
    // More than io_uring takes at once; in a user namespace a tap holds 60.
    const count = isLimited() ? 150 : 50;
    const frames = Array.from({ length: count }, (_, i) => ({ frame: plainFrame(60 + i * 8, i) }));
    frames.splice(10, 0, { frame: new Uint8Array(0) });
    expect(send(a, frames)).toBe(count + 1);
    const received = await collect(b, count);
    expect(received.map(({ frame }) => frame)).toEqual(
      frames.map(({ frame }) => frame).filter((f) => f.length > 0),
    );
    for (const { offset } of received) expect(offset % 64).toBe(16);
  });

  it('reports that more frames may wait when space ends a batch, and loses none', async () => {
    const { a, b } = bridged();
    b.reads.block[FRAMES_END] = 66_000;
    send(
      a,
      [1, 2, 3].map((seed) => ({ frame: plainFrame(1000, seed) })),
    );
    await sleep(20);
    expect(receive(b).map(({ frame }) => frame[20])).toEqual([21]);
    expect(b.reads.block[FRAMES_MORE]).toBe(1);
    expect(receive(b).map(({ frame }) => frame[20])).toEqual([22]);
    b.reads.block[FRAMES_END] = 60_000;
    expect(receive(b)).toEqual([]);
    expect(b.reads.block[FRAMES_MORE]).toBe(1);
    b.reads.block[FRAMES_END] = 1 << 20;
    expect(receive(b).map(({ frame }) => frame[20])).toEqual([23]);
    expect(b.reads.block[FRAMES_MORE]).toBe(0);
  });

  it('wakes the reader once for each time that it asked', async () => {
    const { a, b } = bridged();
    send(a, [{ frame: plainFrame(60, 1) }]);
    await sleep(30);
    expect(b.wakeUps).toBe(0);
    b.io.wantReadable();
    await until(() => b.wakeUps === 1);
    await sleep(30);
    expect(b.wakeUps).toBe(1);
    b.io.wantReadable();
    await until(() => b.wakeUps === 2);
  });

  it.each(WAYS)(
    'gives each frame that cannot be sent its errno and sends the others, $way',
    async ({ ioUring }) => {
      process.env.VIFD_IO_URING = ioUring;
      const { a, b } = bridged();
      send(
        a,
        [1, 2, 3].map((seed) => ({ frame: plainFrame(60, seed) })),
      );
      await collect(b, 3);
      a.writes.block[frameAt(1) + FRAME_OFFSET] = (1 << 20) - 59;
      expect(a.io.write()).toBe(3);
      expect([0, 1, 2].map((index) => statusOf(a, index))).toEqual([0, 22, 0]);
      expect((await collect(b, 2)).map(({ frame }) => frame[20])).toEqual([21, 23]);
      ip('link', 'set', 'ta', 'down');
      expect(a.io.write()).toBe(3);
      expect(statusOf(a, 0)).toBe(EIO);
    },
  );

  it('reports a device that was deleted, and does not spin', async () => {
    const end = openEnd(makeTap({ name: 'ta', up: true }), arena);
    end.io.wantReadable();
    ip('link', 'delete', 'ta');
    await until(() => end.wakeUps === 1);
    expect(end.io.read()).toBe(0);
    expect(end.reads.block[FRAMES_ERRNO]).toBe(EBADFD);
    end.io.wantReadable();
    await sleep(30);
    expect(end.wakeUps).toBeLessThanOrEqual(2);
  });
}

function offloadTests(): void {
  it('crosses as one frame of 4 KB where the reader takes GSO', async () => {
    const { a, b } = bridged();
    send(a, [{ frame: tcpFrame(4000, 5), header: tcpHeader(1448) }]);
    expect(statusOf(a, 0)).toBe(0);
    const [{ frame, header }] = await collect(b, 1);
    expect(frame).toEqual(tcpFrame(4000, 5));
    expect([header[0] & 1, header[1]]).toEqual([1, 1]);
  });

  it('is cut by the kernel where the reader does not take GSO', async () => {
    const { a, b } = bridged({ ...EVERYTHING, gsoV4: false });
    send(a, [{ frame: tcpFrame(4000, 5), header: tcpHeader(1448) }]);
    const frames = await collect(b, 3);
    expect(frames.map(({ frame }) => frame.length - 54)).toEqual([1448, 1448, 1104]);
  });

  it.each([
    ['by the kernel where the reader takes no checksums', { checksumV4: false, checksumV6: false }],
    ['by the addon where it takes those of IPv6 only', { checksumV4: false, checksumV6: true }],
  ])('has its checksum completed %s', async (_, checksums) => {
    const { a, b } = bridged({ ...checksums, gsoV4: true, gsoV6: true });
    send(a, [{ frame: tcpFrame(333, 5), header: tcpHeader(0) }]);
    const [{ frame, header }] = await collect(b, 1);
    expect(header[0] & 1).toBe(0);
    expect(tcpChecksumHolds(frame)).toBe(true);
  });

  it('keeps its partial checksum where the reader takes those of IPv4 only', async () => {
    const { a, b } = bridged({ checksumV4: true, checksumV6: false, gsoV4: false, gsoV6: false });
    send(a, [{ frame: tcpFrame(333, 5), header: tcpHeader(0) }]);
    const [{ frame, header }] = await collect(b, 1);
    expect(header[0] & 1).toBe(1);
    expect(frame).toEqual(tcpFrame(333, 5));
  });
}

/** A frame of three pieces in a guest's pages. */
const PIECES = [
  { page: 2, offset: 100, length: 1000 },
  { page: 0, offset: 0, length: PAGE_SIZE },
  { page: 1, offset: 4000, length: 96 },
];
const HEAD = 64;

function mappedTests(): void {
  let machine: string;
  const noStore = { [Symbol.asyncDispose]: async () => {} } as unknown as Store;

  async function enter(domid: number) {
    process.env.XENSIM_DOMID = String(domid);
    return openXen({ libraries: xensim, store: noStore });
  }

  beforeAll(() => {
    machine = mkdtempSync(join(tmpdir(), 'vifd-tap-'));
    process.env.XENSIM = machine;
    return () => rmSync(machine, { recursive: true, force: true });
  });

  it('are written from where they lie, the checked head from the arena', async () => {
    await using backend = await enter(0);
    await using guest = await enter(7);
    const shared = guest.shares!.allocate(3);
    const whole = plainFrame(
      PIECES.reduce((sum, { length }) => sum + length, 0),
      3,
    );
    const portA = makeTap({ name: 'ta', bridge: 'br0', up: true, mtu: 9000 });
    const portB = makeTap({ name: 'tb', bridge: 'br0', up: true, mtu: 9000 });
    const b = openEnd(portB, arena);
    const own = arena(PAGE_SIZE * 4);
    const batch = backend.grants.batch({ domid: 7, capacity: 4, arena: own });
    batch.ops[OPS_COUNT] = PIECES.length;
    let done = 0;
    PIECES.forEach(({ page, offset, length }, index) => {
      const at = OPS_HEADER_WORDS + index * OP_WORDS;
      shared.bytes.set(whole.subarray(done, done + length), page * PAGE_SIZE + offset);
      batch.ops[at + OP_REF] = shared.grant(page, 0, 'read');
      batch.ops[at + OP_SPAN] = (offset | (length << 16)) >>> 0;
      batch.ops[at + OP_ARENA] = 64;
      batch.ops[at + OP_HEAD] = index === 0 ? HEAD : 0;
      done += length;
    });
    const writes = new FrameBatch(own, 4);
    const io = portA.open(
      { writes, reads: new FrameBatch(arena(1 << 17), 4), mapped: batch },
      { ...EVERYTHING, onReadable: () => {} },
    );
    portA.setCarrier?.(true);
    const at = frameAt(0);
    writes.block.set([64, whole.length, 0, PIECES.length, 0xdead], at);
    writes.count = 1;
    io.write();
    expect(writes.block[at + FRAME_STATUS], 'not mapped yet').not.toBe(0);

    batch.mapFromGuest();
    // The checked bytes are sent, even if the guest changes its page meanwhile.
    shared.bytes.fill(0xee, 2 * PAGE_SIZE + 100, 2 * PAGE_SIZE + 100 + HEAD);
    expect(io.write()).toBe(1);
    expect(writes.block[at + FRAME_STATUS]).toBe(0);
    const [{ frame }] = await collect(b, 1);
    expect(Buffer.compare(frame, whole)).toBe(0);

    for (const [word, wrong] of [
      [FRAME_LENGTH, whole.length + 1],
      [FRAME_FIRST_OP, 2],
      [FRAME_OP_COUNT, 0xffff_ffff],
      [FRAME_OFFSET, 0],
    ]) {
      const right = writes.block[at + word];
      writes.block[at + word] = wrong;
      io.write();
      expect(writes.block[at + FRAME_STATUS], `word ${word}`).not.toBe(0);
      writes.block[at + word] = right;
    }
    // Copied bytes of a frame lie in one piece.
    const second = OPS_HEADER_WORDS + OP_WORDS + OP_HEAD;
    batch.ops[second] = 1;
    io.write();
    expect(writes.block[at + FRAME_STATUS], 'a head behind a gap').not.toBe(0);
    batch.ops[second] = 0;
    writes.block.copyWithin(frameAt(1), frameAt(0), frameAt(1));
    writes.count = 2;
    expect(io.write()).toBe(2);
    for (const copy of await collect(b, 2)) expect(Buffer.compare(copy.frame, whole)).toBe(0);
    batch.unmap();
    io.write();
    expect(writes.block[at + FRAME_STATUS], 'unmapped').not.toBe(0);
    io.close();
  });
}

withTaps(import.meta.url, () => {
  afterEach(() => {
    delete process.env.VIFD_IO_URING;
  });
  describe('setting up a tap', setUpTests);
  describe('traffic of a tap', trafficTests);
  describe('a frame with offloads', offloadTests);
  describe.skipIf(!existsSync(join(xensim, 'libxengnttab.so.1')))('frames in mapped pages', mappedTests);
});
