import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FRAME_OP_COUNT, FRAMES_END, FRAMES_MORE, frameAt } from '../../lib/ports/frame-batch.js';
import { pair } from '../../lib/ports/pair.js';
import type { PortOptions } from '../../lib/ports/port.js';
import { FrameQueue } from '../../lib/ports/queue.js';
import { VNET_FLAG_DATA_VALID } from '../../lib/protocol/vnet.js';
import type { Arena } from '../../lib/xen/seam.js';
import {
  type End,
  EVERYTHING,
  NOTHING,
  openEnd,
  plainFrame,
  receive,
  send,
  statusOf,
  tcpChecksumHolds,
  tcpFrame,
  tcpHeader,
} from '../../worlds/port-end.js';

function arena(bytes: number): Arena {
  const buffer = new ArrayBuffer(bytes);
  return { bytes: new Uint8Array(buffer), u32: new Uint32Array(buffer) };
}

function ends(offloads: Omit<PortOptions, 'onReadable'> = EVERYTHING): [End, End] {
  const [a, b] = pair();
  return [openEnd(a, arena), openEnd(b, arena, offloads)];
}

const ENOTCONN = 107;
const EINVAL = 22;
const EMSGSIZE = 90;

describe('a pair of ports', () => {
  it('carries frames and their vnet headers from one end to the other, in order', () => {
    const [a, b] = ends();
    const frames = [60, 1514, 65_000].map((bytes, seed) => ({ frame: plainFrame(bytes, seed) }));
    const last = { frame: tcpFrame(100, 3), header: tcpHeader(0) };
    expect(send(a, [...frames, last])).toBe(4);
    const received = receive(b);
    expect(received.map(({ frame }) => frame)).toEqual([...frames, last].map(({ frame }) => frame));
    expect(received[3].header).toEqual(last.header);
    expect(receive(a)).toEqual([]);
  });

  it('puts frames where the batch wants them', () => {
    const [a, b] = ends();
    send(a, [{ frame: plainFrame(100, 0) }, { frame: plainFrame(100, 0) }]);
    for (const { offset } of receive(b)) expect(offset % 64).toBe(16);
  });

  it('passes over frames of length 0', () => {
    const [a, b] = ends();
    const frames = [plainFrame(60, 1), new Uint8Array(0), plainFrame(60, 2)].map((frame) => ({ frame }));
    expect(send(a, frames)).toBe(3);
    expect(receive(b).map(({ frame }) => frame[20])).toEqual([21, 22]);
    expect([0, 1, 2].map((index) => statusOf(a, index))).toEqual([0, 0, 0]);
  });

  it('refuses more than fits into its queue, and takes more when that was read', () => {
    const [a, b] = ends();
    const frames = Array.from({ length: 15 }, (_, seed) => ({ frame: plainFrame(65_000, seed) }));
    expect(send(a, frames)).toBe(15);
    expect(send(a, frames)).toBe(0);
    let read = 0;
    for (let batch = receive(b); batch.length > 0; batch = receive(b)) read += batch.length;
    expect(read).toBe(15);
    // One may not fit: a record does not wrap around the queue's end.
    expect(send(a, frames)).toBeGreaterThanOrEqual(14);
  });

  it('reports that more frames wait when space ends a batch', () => {
    const [a, b] = ends();
    b.reads.block[FRAMES_END] = 70_000;
    send(a, [{ frame: plainFrame(5000, 0) }, { frame: plainFrame(60, 1) }]);
    expect(receive(b).length).toBe(1);
    expect(b.reads.block[FRAMES_MORE]).toBe(1);
    expect(receive(b).length).toBe(1);
    expect(b.reads.block[FRAMES_MORE]).toBe(0);
  });

  it('wakes the reader once for each time that it asked', async () => {
    const [a, b] = ends();
    send(a, [{ frame: plainFrame(60, 0) }]);
    await undefined;
    expect(b.wakeUps).toBe(0);
    b.io.wantReadable();
    await undefined;
    expect(b.wakeUps).toBe(1);
    send(a, [{ frame: plainFrame(60, 0) }]);
    await undefined;
    expect(b.wakeUps).toBe(1);
  });

  it('never wakes the reader within the write', async () => {
    const [a, b] = ends();
    b.io.wantReadable();
    send(a, [{ frame: plainFrame(60, 0) }]);
    expect(b.wakeUps).toBe(0);
    await undefined;
    expect(b.wakeUps).toBe(1);
  });

  it('drops frames while the other end is not open, and forgets frames that were not read', () => {
    const [a, b] = pair();
    const writer = openEnd(a, arena);
    expect(send(writer, [{ frame: plainFrame(60, 0) }])).toBe(1);
    expect(statusOf(writer, 0)).toBe(ENOTCONN);
    const reader = openEnd(b, arena);
    send(writer, [{ frame: plainFrame(60, 0) }]);
    reader.io.close();
    expect(receive(openEnd(b, arena))).toEqual([]);
  });

  it('has one user at a time', () => {
    const [a] = pair();
    const first = openEnd(a, arena);
    expect(() => openEnd(a, arena)).toThrow(expect.objectContaining({ code: 'ERR_STATE' }));
    first.io.close();
    openEnd(a, arena);
  });

  it('refuses what lies outside the arena or in mapped pages', () => {
    const [a] = ends();
    send(a, [{ frame: plainFrame(60, 0) }, { frame: plainFrame(60, 0) }]);
    a.writes.block[frameAt(0)] = (1 << 20) - 59;
    a.writes.block[frameAt(1) + FRAME_OP_COUNT] = 1;
    expect(a.io.write()).toBe(2);
    expect([statusOf(a, 0), statusOf(a, 1)]).toEqual([EINVAL, EINVAL]);
  });
});

describe('what the reader of a pair cannot do itself', () => {
  it('is done for it: a partial checksum is completed', () => {
    const [a, b] = ends(NOTHING);
    send(a, [{ frame: tcpFrame(333, 1), header: tcpHeader(0) }]);
    const [{ frame, header }] = receive(b);
    expect(header[0]).toBe(VNET_FLAG_DATA_VALID);
    expect(tcpChecksumHolds(frame)).toBe(true);
  });

  it('leaves the writer its own bytes', () => {
    const [a] = ends(NOTHING);
    const frame = tcpFrame(333, 1);
    send(a, [{ frame, header: tcpHeader(0) }]);
    const offset = a.writes.block[frameAt(0)];
    expect(a.writes.arena.bytes.slice(offset, offset + frame.length)).toEqual(frame);
  });

  it('is done for it: a GSO frame is cut into segments that make up the whole', () => {
    const [a, b] = ends(NOTHING);
    const whole = tcpFrame(4000, 5);
    expect(send(a, [{ frame: whole, header: tcpHeader(1448) }])).toBe(1);
    const segments = receive(b).map(({ frame }) => frame);
    expect(segments.map((frame) => frame.length - 54)).toEqual([1448, 1448, 1104]);
    expect(segments.every(tcpChecksumHolds)).toBe(true);
    const views = segments.map((frame) => new DataView(frame.buffer));
    expect(views.map((view) => view.getUint16(16))).toEqual([1488, 1488, 1144]);
    expect(views.map((view) => view.getUint16(18))).toEqual([0x1234, 0x1235, 0x1236]);
    expect(views.map((view) => view.getUint32(38))).toEqual([0xffff_ff00, 0x4a8, 0xa50]);
    expect(segments.map((frame) => frame[47])).toEqual([0x10, 0x10, 0x18]);
    const payload = Buffer.concat(segments.map((frame) => frame.subarray(54)));
    expect(Buffer.compare(payload, whole.subarray(54))).toBe(0);
  });

  it('keeps a GSO frame whole for a reader that takes it', () => {
    const [a, b] = ends();
    send(a, [{ frame: tcpFrame(4000, 5), header: tcpHeader(1448) }]);
    expect(receive(b).map(({ frame }) => frame.length)).toEqual([4054]);
  });

  it('refuses segments so small that they would fill the queue', () => {
    const [a] = ends(NOTHING);
    send(a, [{ frame: tcpFrame(60_000, 5), header: tcpHeader(1) }]);
    expect(statusOf(a, 0)).toBe(EMSGSIZE);
  });

  it('refuses a GSO frame whose headers are not there', () => {
    const [a] = ends(NOTHING);
    send(a, [{ frame: plainFrame(40, 5), header: tcpHeader(1448) }]);
    expect(statusOf(a, 0)).toBe(EINVAL);
  });
});

describe('a queue of frames', () => {
  it('gives back what was put in, whatever the lengths', () => {
    const step = fc.record({ put: fc.boolean(), bytes: fc.integer({ min: 1, max: 9000 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const queue = new FrameQueue(200_000);
        const model: { bytes: number; seed: number }[] = [];
        steps.forEach(({ put, bytes }, seed) => {
          if (put && queue.hasRoom(bytes, 1)) {
            queue.reserve(bytes).fill(seed & 0xff);
            queue.commit(bytes);
            model.push({ bytes, seed: seed & 0xff });
          } else if (!put) {
            const expected = model.shift();
            const record = queue.peek();
            expect(record?.length).toBe(expected?.bytes);
            if (record !== undefined) expect(record.every((byte) => byte === expected?.seed)).toBe(true);
            queue.shift();
          }
        });
        expect(queue.empty).toBe(model.length === 0);
      }),
      { numRuns: 200 },
    );
  });

  it('has nothing of a record that was not committed, also where that begins the ring anew', () => {
    const queue = new FrameQueue(200_000);
    for (let i = 0; i < 3; i++) {
      queue.reserve(60_000);
      queue.commit(60_000);
      queue.shift();
    }
    queue.reserve(30_000);
    expect([queue.empty, queue.peek()]).toEqual([true, undefined]);
  });
});
