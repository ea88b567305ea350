import { describe, expect, test } from 'vitest';
import {
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAMES_END,
  FRAMES_MORE,
  FrameBatch,
  frameAt,
} from '../../lib/ports/frame-batch.js';
import { completeChecksum } from '../../lib/protocol/checksum.js';
import {
  Checker,
  CheckerPort,
  GeneratorPort,
  TrafficFrames,
  Violations,
} from '../../lib/testing/netfront/index.js';

const START = 16;

function made(sequence: number, length: number, seed = 4, partial = true): Uint8Array {
  const bytes = new Uint8Array(START + length);
  new TrafficFrames(seed).write(bytes, START, length, sequence, partial);
  return bytes;
}

function take(checker: Checker, bytes: Uint8Array): void {
  checker.take(bytes, START, bytes.length - START);
}

function batchOf(bytes: number, capacity: number): FrameBatch {
  const memory = new Uint8Array(bytes);
  const batch = new FrameBatch({ bytes: memory, u32: new Uint32Array(memory.buffer) }, capacity);
  batch.block[FRAMES_END] = bytes;
  return batch;
}

describe('traffic of known content', () => {
  test.each([54, 60, 1514, 1515, 65535])('a frame of %i bytes is known again', (length) => {
    const checker = new Checker({ seed: 4 });
    take(checker, made(0, length));
    take(checker, made(1, length, 4, false));
    expect(checker.counts).toMatchObject({
      frames: 2,
      damaged: 0,
      lost: 0,
      repeated: 0,
      foreign: 0,
      next: 2,
    });
  });

  test.each([60, 2000])(
    'a frame of %i bytes is known again when its checksum was completed on the way',
    (length) => {
      const checker = new Checker({ seed: 4 });
      const bytes = made(0, length);
      completeChecksum(bytes, START, length, bytes[10]!, bytes[12]!);
      bytes[4] = 0;
      take(checker, bytes);
      expect(checker.counts.damaged).toBe(0);
    },
  );

  test('one wrong bit anywhere is found and reported', () => {
    const violations = new Violations();
    const checker = new Checker({ seed: 4, violations, direction: 'to-guest' });
    const good = made(0, 200);
    for (let at = 0; at < 200; at++) {
      const bytes = good.slice();
      bytes[START + at]! ^= 4;
      take(checker, bytes);
    }
    const { damaged, foreign } = checker.counts;
    expect(damaged + foreign).toBe(200);
    // With a wrong magic number or seed it cannot be distinguished from a foreign frame.
    expect(foreign).toBe(8);
    expect(violations.count('content-mismatch')).toBe(192);
    expect(violations.list[0]).toMatchObject({ kind: 'content-mismatch', ring: 'to-guest' });
  });

  test('losses, repeats and late frames are counted separately', () => {
    const checker = new Checker({ seed: 4 });
    for (const sequence of [0, 1, 5, 3, 3, 1, 6]) take(checker, made(sequence, 60));
    expect(checker.counts).toMatchObject({ frames: 7, lost: 2, reordered: 1, repeated: 2, next: 7 });
  });

  test('a frame of another seed is foreign', () => {
    const checker = new Checker({ seed: 4 });
    take(checker, made(0, 60, 5));
    expect(checker.counts).toMatchObject({ frames: 0, foreign: 1 });
  });

  test('what a generator port gives, a checker port takes', () => {
    const from = new GeneratorPort({ seed: 9, sizes: [60, 1514, 30_000], frames: 10 });
    const to = new CheckerPort({ seed: 9 });
    const batch = batchOf(1 << 20, 64);
    const options = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true, onReadable: () => {} };
    const other = batchOf(4096, 1);
    const source = from.open({ reads: batch, writes: other }, options);
    const sink = to.open({ reads: other, writes: batch }, options);
    expect(source.read()).toBe(10);
    expect(batch.block[FRAMES_MORE]).toBe(0);
    expect(sink.write()).toBe(10);
    expect(to.counts).toMatchObject({ frames: 10, damaged: 0, lost: 0, next: 10 });
  });

  test('a reader without GSO gets no long frames, and one without checksum offload no partial ones', () => {
    const port = new GeneratorPort({ seed: 9, sizes: [30_000], frames: 1 });
    const batch = batchOf(1 << 18, 4);
    const options = {
      checksumV4: false,
      checksumV6: false,
      gsoV4: false,
      gsoV6: false,
      onReadable: () => {},
    };
    port.open({ reads: batch, writes: batch }, options).read();
    expect(batch.block[frameAt(0) + FRAME_LENGTH]).toBe(1514);
    expect(batch.arena.bytes[batch.block[frameAt(0) + FRAME_OFFSET]! - 12]).toBe(0);
  });

  test('the reader is notified once, when there is something', async () => {
    const port = new GeneratorPort({ seed: 9, sizes: [60], frames: 0 });
    let told = 0;
    const batch = batchOf(1 << 18, 4);
    const options = {
      checksumV4: true,
      checksumV6: true,
      gsoV4: true,
      gsoV6: true,
      onReadable: () => told++,
    };
    const io = port.open({ reads: batch, writes: batch }, options);
    io.wantReadable();
    await Promise.resolve();
    expect(told).toBe(0);
    port.send(1);
    port.send(1);
    await Promise.resolve();
    expect(told).toBe(1);
  });
});
