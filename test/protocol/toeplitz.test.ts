import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addToeplitz,
  fillToeplitz,
  HASH_INPUT_BYTES,
  HASH_KEY_BYTES,
  TOEPLITZ_WORDS,
} from '../../lib/protocol/toeplitz.js';
import { type HashVector, IPV4_VECTORS, IPV6_VECTORS, RSS_KEY } from './hash-vectors.js';

function tableOf(key: Uint8Array): Uint32Array {
  const table = new Uint32Array(TOEPLITZ_WORDS);
  fillToeplitz(key, table);
  return table;
}

/** Computes it by the definition: bit by bit, with the key as one number. */
function plainHash(key: Uint8Array, input: Uint8Array): number {
  const number = BigInt(`0x${Buffer.from(key).toString('hex')}`);
  let hash = 0n;
  for (let bit = 0; bit < input.length * 8; bit++) {
    if ((input[bit >>> 3]! & (0x80 >>> (bit & 7))) === 0) continue;
    hash ^= (number >> BigInt(key.length * 8 - 32 - bit)) & 0xffffffffn;
  }
  return Number(hash);
}

function inputOf(vector: HashVector): Uint8Array {
  const { source, destination, sourcePort, destinationPort } = vector;
  const ports = [sourcePort >>> 8, sourcePort & 255, destinationPort >>> 8, destinationPort & 255];
  return Uint8Array.from([...source, ...destination, ...ports]);
}

describe('the Toeplitz hash', () => {
  it.each([...IPV4_VECTORS, ...IPV6_VECTORS])('is as published for the flow $ofPorts', (vector) => {
    const table = tableOf(RSS_KEY);
    const input = inputOf(vector);
    const addresses = vector.source.length * 2;
    const hash = addToeplitz(table, 0, input, 0, addresses, 0);
    expect(hash >>> 0).toBe(vector.ofAddresses);
    expect(addToeplitz(table, hash, input, addresses, 4, addresses) >>> 0).toBe(vector.ofPorts);
  });

  it('follows the definition, for any key and input', () => {
    const key = fc.uint8Array({ minLength: HASH_KEY_BYTES, maxLength: HASH_KEY_BYTES });
    const input = fc.uint8Array({ maxLength: HASH_INPUT_BYTES });
    fc.assert(
      fc.property(key, input, (k, bytes) => {
        expect(addToeplitz(tableOf(k), 0, bytes, 0, bytes.length, 0) >>> 0).toBe(plainHash(k, bytes));
      }),
      { numRuns: 40 },
    );
  });

  it('of an empty key is 0', () => {
    const table = tableOf(new Uint8Array(HASH_KEY_BYTES));
    expect(addToeplitz(table, 0, RSS_KEY, 0, HASH_INPUT_BYTES, 0)).toBe(0);
  });
});
