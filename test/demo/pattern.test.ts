import { describe, expect, test } from 'vitest';
import { BLOCK_BYTES, fillBlock, PatternChecker } from '../../demo/pattern.js';

const STREAM = 3;

function stream(blocks: number, number = STREAM): Buffer {
  const bytes = Buffer.alloc(blocks * BLOCK_BYTES);
  for (let i = 0; i < blocks; i++) {
    fillBlock(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES), number, i);
  }
  return bytes;
}

/** @returns bytes that differ when `bytes` arrive in chunks of `size`. */
function differing(bytes: Buffer, size = 9973): number {
  const checker = new PatternChecker(STREAM);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += size) sum += checker.check(bytes.subarray(at, at + size));
  return sum;
}

describe('the byte stream that checks itself', () => {
  const sent = stream(6);

  test('is the same however it is cut', () => {
    for (const size of [1000, 65535, 65536, 65537, sent.length]) expect(differing(sent, size)).toBe(0);
  });

  test('counts each changed byte', () => {
    const changed = Buffer.from(sent);
    for (const at of [0, 70_000, 200_003]) changed[at] = (changed[at] ?? 0) ^ 1;
    expect(differing(changed)).toBe(3);
  });

  test.each([
    ['lost', (b: Buffer) => Buffer.concat([b.subarray(0, 1448), b.subarray(2896)])],
    [
      'lost as whole blocks',
      (b: Buffer) => Buffer.concat([b.subarray(0, BLOCK_BYTES), b.subarray(2 * BLOCK_BYTES)]),
    ],
    ['repeated', (b: Buffer) => Buffer.concat([b.subarray(0, 2896), b.subarray(1448)])],
    [
      'swapped',
      (b: Buffer) =>
        Buffer.concat([
          b.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES),
          b.subarray(0, BLOCK_BYTES),
          b.subarray(2 * BLOCK_BYTES),
        ]),
    ],
    ["another stream's", () => stream(6, 4)],
  ])('sees bytes that are %s', (_what, spoil) => {
    expect(differing(spoil(sent))).toBeGreaterThan(1000);
  });
});
