import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NativeTap } from '../../lib/addon.js';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import type { Port } from '../../lib/ports/port.js';
import {
  type End,
  EVERYTHING,
  openEnd,
  receive,
  type Sent,
  send,
  tcpFrame,
  tcpHeader,
} from '../../worlds/port-end.js';
import { arena, isLimited, makeTap, withTaps } from '../tap-network.js';

const FAULTS = 'build/Release/libsystem_faults.so';

/** The most kernel memory of a vif while its guest takes nothing. */
const BOUND = 4 << 20;
/** Of an skb beside its bytes, at the least: 832 for 60 bytes, measured as a packet socket's rmem on 6.18. */
const SKB_BYTES = 768;
const LARGEST = 65_000;
const BATCH = 15;

interface Room {
  readonly port: Port;
  readonly ends: readonly End[];
  readonly sender: End;
}

/** A tap whose reader takes nothing yet, and another that sends to it over a bridge. */
function room(queues: number): Room {
  const port = makeTap({ name: 'tq', multiQueue: queues > 1, up: true, bridge: 'br0' });
  const ends = Array.from({ length: queues }, (_, index) =>
    openEnd(port, arena, { ...EVERYTHING, queue: { index, count: queues } }),
  );
  return { port, ends, sender: openEnd(makeTap({ name: 'tp', up: true, bridge: 'br0' }), arena) };
}

/** Another flow each, so that they are spread over queues. */
function flow(frame: Uint8Array, port: number): Uint8Array {
  frame.set([port >> 8, port & 0xff], 34);
  return frame;
}

const large = (port: number): Sent => ({
  frame: flow(tcpFrame(LARGEST - 54, 1), port),
  header: tcpHeader(1448),
});
const small = (port: number): Sent => ({ frame: flow(tcpFrame(6, 1), port), header: tcpHeader(0) });
const datagram = (port: number): Sent => ({
  frame: flow(tcpFrame(1514 - 54, 1), port),
  header: tcpHeader(0),
});

function flood(sender: End, count: number, make: (port: number) => Sent): void {
  for (let sent = 0; sent < count; sent += BATCH) {
    const frames = Array.from({ length: Math.min(BATCH, count - sent) }, (_, i) =>
      make(1000 + ((sent + i) % 997)),
    );
    expect(send(sender, frames)).toBe(frames.length);
  }
}

/** Reads all frames that wait. Returns how many there were, and their bytes. */
function drain(ends: readonly End[]): { frames: number; bytes: number } {
  let frames = 0;
  let bytes = 0;
  for (const end of ends)
    for (let batch = receive(end); batch.length > 0; batch = receive(end)) {
      frames += batch.length;
      for (const { frame } of batch) bytes += frame.length;
    }
  return { frames, bytes };
}

function limitTests(): void {
  describe.each([1, 8])('with %i queues', (queues) => {
    it.each([
      ['64 KiB', large, 400, 25],
      ['60 bytes', small, 6000, 1500],
    ])(
      'holds 4 MiB of frames of %s for a reader that takes none, and counts those it drops',
      (_, make, sent, least) => {
        const { port, ends, sender } = room(queues);
        flood(sender, sent, make);
        const { frames, bytes } = drain(ends);
        expect(bytes + frames * SKB_BYTES).toBeLessThan(BOUND);
        expect(frames).toBeGreaterThan(least);
        expect(frames + (port.dropped ?? 0)).toBe(sent);
        // It takes frames again: there is room for as many.
        flood(sender, frames, make);
        expect(drain(ends).frames).toBe(frames);
        expect(frames + (port.dropped ?? 0)).toBe(sent);
      },
    );

    it('loses nothing of a burst of 1,000 full frames for a reader that is late', () => {
      const { port, ends, sender } = room(queues);
      flood(sender, 1000, datagram);
      expect(drain(ends).frames).toBe(1000);
      expect(port.dropped).toBe(0);
    });
  });

  it('bounds what an earlier process has left in the queues and what comes after, together', async () => {
    const { port, ends, sender } = room(8);
    flood(sender, 400, large);
    const before = port.dropped ?? 0;
    // The next process attaches a program of its own.
    const native = (port as unknown as { native: NativeTap }).native;
    expect(native.limit(BOUND, 60_000)).toBeUndefined();
    flood(sender, 400, large);
    const { frames, bytes } = drain(ends);
    expect(bytes + frames * SKB_BYTES).toBeLessThan(BOUND);
    expect(frames).toBe(400 - before);
    flood(sender, frames, large);
    expect(drain(ends).frames).toBe(frames);
  });

  it('has room again for a reader of which frames were lost in a queue that was closed', async () => {
    const { port, ends, sender } = room(8);
    flood(sender, 400, large);
    for (const { io } of ends) io.close();
    const [end] = [openEnd(port, arena, { ...EVERYTHING, queue: { index: 0, count: 1 } })];
    drain([end]);
    flood(sender, 20, large);
    expect(drain([end]).frames).toBe(20);
  });
}

/** A program that opens a tap with several queues and reads none, as for a guest without buffers; its argument names calls of libc that fail. */
const CHILD = `
import { tap } from './dist/ports/tap.js';
import { FrameBatch } from './dist/ports/frame-batch.js';
import { NativeArena } from './dist/xen/native/arena.js';
const count = Number(process.argv[1]);
const said = (error) => console.log(error?.message ?? 'mended');
const port = tap({ name: 'tq', multiQueue: count > 1, up: true, bridge: 'br0', onShortQueues: said });
const batch = () => new FrameBatch(new NativeArena(1 << 16), 1);
const takes = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true };
for (let index = 0; index < count; index++)
  port.open({ writes: batch(), reads: batch() }, { ...takes, queue: { index, count }, onReadable() {} });
port.setCarrier(true);
console.log('open');
process.stdin.on('data', () => console.log('dropped', port.dropped));
`;

function refusalTests(): void {
  let faults: string;
  let child: ChildProcess;
  let lines: string[];

  const said = (text: RegExp) => vi.waitFor(() => expect(lines.at(-1)).toMatch(text), { timeout: 10_000 });

  beforeEach(() => {
    faults = mkdtempSync('/dev/shm/vifd-test-');
    writeFileSync(join(faults, 'bpf'), 'EPERM\n');
  });
  afterEach(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    rmSync(faults, { recursive: true });
  });

  it.each([1, 8])('bounds it by %i short queues, reports why, and tries again', async (queues) => {
    const LD_PRELOAD = [process.env.LD_PRELOAD, resolve(FAULTS)].filter(Boolean).join(':');
    child = spawn(process.execPath, ['--input-type=module', '-e', CHILD, `${queues}`], {
      env: { ...process.env, LD_PRELOAD, SYSTEM_FAULTS: faults },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    lines = [];
    createInterface(child.stdout!).on('line', (line) => lines.push(line));
    await said(/^open$/);
    expect(lines).toEqual([
      expect.stringMatching(
        /^The kernel refuses the program .* \(BPF_MAP_CREATE: EPERM\).*CAP_BPF.*tries again\.$/,
      ),
      'open',
    ]);
    const sender = openEnd(makeTap({ name: 'tp', up: true, bridge: 'br0' }), arena);
    flood(sender, 400, large);
    child.stdin?.write('how many?\n');
    await said(/^dropped/);
    const waiting = 400 - Number(lines.at(-1)?.split(' ')[1]);
    expect(waiting * (LARGEST + SKB_BYTES)).toBeLessThan(BOUND);
    expect(waiting).toBeGreaterThan(30);

    if (!isLimited()) return;
    rmSync(join(faults, 'bpf'));
    await said(/^mended$/);
    expect(interfaces().find('tq')?.queueFrames).toBe(2048);
    flood(sender, 400, large);
    child.stdin?.write('how many?\n');
    await said(/^dropped/);
    // The program counts the queues as full until they were seen empty, and this reader never empties them.
    expect(Number(lines.at(-1)?.split(' ')[1])).toBe(800 - waiting);
  });
}

withTaps(import.meta.url, () => {
  describe.skipIf(!isLimited())('what waits in a tap', limitTests);
  const missing = ['dist/ports/tap.js', FAULTS].find((file) => !existsSync(file));
  describe.skipIf(missing)('what waits in a tap where the kernel refuses the program', refusalTests);
});
