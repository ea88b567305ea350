import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FRAME_BYTES_MAX,
  FRAMES_END,
  FRAMES_ERRNO,
  FRAMES_MORE,
  FRAMES_START,
  FrameBatch,
} from '../../lib/ports/frame-batch.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';
import {
  addFrame,
  frameIn,
  frameStatus,
  headerIn,
  setFrameStatus,
} from '../../lib/testing/netfront/batch-frames.js';
import { FramePort } from '../../lib/testing/netfront/frame-port.js';

const ARENA_BYTES = 1 << 18;
const ENOSPC = 28;

function batchOf(capacity = 64): FrameBatch {
  const bytes = new Uint8Array(ARENA_BYTES).fill(0xee);
  const batch = new FrameBatch({ bytes, u32: new Uint32Array(bytes.buffer) }, capacity);
  batch.block[FRAMES_START] = 0;
  batch.block[FRAMES_END] = ARENA_BYTES;
  return batch;
}

function opened(port: FramePort, { capacity = 64, onReadable = () => {} } = {}) {
  const [writes, reads] = [batchOf(capacity), batchOf(capacity)];
  const takes = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true };
  return { writes, reads, io: port.open({ writes, reads }, { ...takes, onReadable }) };
}

describe('frames of a batch', () => {
  it('come back as they were added, with their headers, wherever the batch wants them', () => {
    const frames = fc.array(
      fc.record({
        frame: fc.uint8Array({ minLength: 1, maxLength: 300 }),
        header: fc.option(fc.uint8Array({ minLength: VNET_HEADER_BYTES, maxLength: VNET_HEADER_BYTES }), {
          nil: undefined,
        }),
      }),
      { maxLength: 64 },
    );
    fc.assert(
      fc.property(frames, fc.nat(1000), (added, start) => {
        const batch = batchOf();
        batch.block[FRAMES_START] = start;
        for (const { frame, header } of added) expect(addFrame(batch, frame, header)).toBe(true);
        expect(batch.count).toBe(added.length);
        for (const [index, { frame, header }] of added.entries()) {
          expect(frameIn(batch, index)).toEqual(frame);
          expect(headerIn(batch, index)).toEqual(header ?? new Uint8Array(VNET_HEADER_BYTES));
          expect(headerIn(batch, index).byteOffset).toBeGreaterThanOrEqual(start);
        }
      }),
    );
  });

  it('are refused without room in the arena, or in the batch', () => {
    const batch = batchOf(2);
    expect(addFrame(batch, new Uint8Array(60), undefined, ARENA_BYTES)).toBe(false);
    expect(batch.count).toBe(0);
    expect([60, 60, 60].map((bytes) => addFrame(batch, new Uint8Array(bytes)))).toEqual([true, true, false]);
  });
});

describe('a port of frames', () => {
  it('passes on what is written, and leaves out frames that are passed over', () => {
    const seen: [number[], number[]][] = [];
    const port = new FramePort({ onFrame: (frame, header) => seen.push([[...frame], [...header]]) });
    const { io, writes } = opened(port);
    const header = new Uint8Array(VNET_HEADER_BYTES).fill(1);
    addFrame(writes, Uint8Array.of(1, 2, 3), header);
    addFrame(writes, new Uint8Array());
    addFrame(writes, Uint8Array.of(4));
    for (let index = 0; index < 3; index++) setFrameStatus(writes, index, 0xdead);
    expect(io.write()).toBe(3);
    expect(seen).toEqual([
      [[1, 2, 3], [...header]],
      [[4], [...new Uint8Array(VNET_HEADER_BYTES)]],
    ]);
    expect([0, 1, 2].map((index) => frameStatus(writes, index))).toEqual([0, 0, 0]);
  });

  it('gives a frame that it refuses its status, and keeps what it has no room for with the writer', () => {
    const seen: number[] = [];
    const batches: number[] = [];
    const fates = [0, ENOSPC, 0, 'full', 0] as const;
    let next = 0;
    const port = new FramePort({
      admit: () => fates[next++]!,
      onFrame: ([first]) => seen.push(first),
      onWrite: (frames) => batches.push(frames),
    });
    const { io, writes } = opened(port);
    for (const byte of [1, 2, 3, 4, 5]) addFrame(writes, Uint8Array.of(byte));
    expect(io.write()).toBe(3);
    expect([0, 1, 2].map((index) => frameStatus(writes, index))).toEqual([0, ENOSPC, 0]);
    expect(writes.block[FRAMES_ERRNO]).toBe(ENOSPC);
    expect([seen, batches]).toEqual([[1, 3], [5]]);
  });

  it('gives what is sent in order, a batch at a time, and reports that more waits', () => {
    const port = new FramePort();
    const { io, reads } = opened(port, { capacity: 2 });
    for (const byte of [1, 2, 3])
      port.send(Uint8Array.of(byte), new Uint8Array(VNET_HEADER_BYTES).fill(byte));
    const read = () =>
      Array.from({ length: io.read() }, (_, i) => [frameIn(reads, i)[0], headerIn(reads, i)[0]]);
    expect([read(), reads.block[FRAMES_MORE], port.queued]).toEqual([
      [
        [1, 1],
        [2, 2],
      ],
      1,
      1,
    ]);
    expect([read(), reads.block[FRAMES_MORE], port.queued]).toEqual([[[3, 3]], 0, 0]);
    expect(read()).toEqual([]);
  });

  it('reads nothing where the longest frame might not fit', () => {
    const port = new FramePort();
    const { io, reads } = opened(port);
    reads.block[FRAMES_END] = FRAME_BYTES_MAX;
    port.send(Uint8Array.of(1));
    expect([io.read(), port.queued, reads.block[FRAMES_MORE]]).toEqual([0, 1, 1]);
  });

  it('notifies its reader of frames once for each time that it asks, also of those that waited already', async () => {
    let told = 0;
    const port = new FramePort();
    const { io } = opened(port, { onReadable: () => told++ });
    port.send(Uint8Array.of(1));
    await undefined;
    expect(told, 'nobody asked').toBe(0);
    io.wantReadable();
    await undefined;
    expect(told).toBe(1);
    port.send(Uint8Array.of(2));
    expect(told).toBe(1);
    io.read();
    io.wantReadable();
    port.send(Uint8Array.of(3));
    expect(told).toBe(2);
    io.wantReadable();
    io.close();
    await undefined;
    port.send(Uint8Array.of(4));
    expect(told, 'closed').toBe(2);
  });

  it('keeps frames for the next process that opens it, whose end a late close does not touch', () => {
    let told = 0;
    const port = new FramePort();
    const { io: before } = opened(port);
    port.send(Uint8Array.of(1));
    const { io, reads } = opened(port, { onReadable: () => told++ });
    expect([io.read(), frameIn(reads, 0)[0]]).toEqual([1, 1]);
    io.wantReadable();
    before.close();
    port.send(Uint8Array.of(2));
    expect(told).toBe(1);
  });

  it('drops what is beyond its bound', () => {
    const port = new FramePort({ queuedMax: 2 });
    expect([1, 2, 3].map((byte) => port.send(Uint8Array.of(byte)))).toEqual([true, true, false]);
    expect(port.queued).toBe(2);
  });
});
