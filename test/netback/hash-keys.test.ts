import { beforeEach, describe, expect, it, vi } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { HASH_BANKS } from '../../lib/durable/layout.js';
import { HashState } from '../../lib/netback/guest/hash.js';
import { HASH_ALGORITHM_TOEPLITZ, HASH_TYPE_IPV4 } from '../../lib/protocol/control.js';
import { fillToeplitz } from '../../lib/protocol/toeplitz.js';

vi.mock(import('../../lib/protocol/toeplitz.js'), async (original) => {
  const module = await original();
  return { ...module, fillToeplitz: vi.fn(module.fillToeplitz) };
});

/** An IPv4 frame without ports, from `source`. */
function frameFrom(source: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([0x08, 0x00, 0x45], 12);
  frame.set([10, 0, 0, source, 10, 0, 0, 9], 26);
  return frame;
}

describe('the keys of a guest that sets them without end', () => {
  let hash: HashState;
  const fills = () => vi.mocked(fillToeplitz).mock.calls.length;
  const look = (source: number) => {
    expect(hash.look(frameFrom(source), 0, 60)).not.toBe(0);
    return hash.value;
  };
  beforeEach(() => {
    vi.mocked(fillToeplitz).mockClear();
    hash = new HashState(DurableWords.ofProcess(HASH_BANKS.words), 4);
    hash.begin();
    hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
    hash.setFlags(HASH_TYPE_IPV4);
  });

  it('cost no table until a frame is hashed, and then one', () => {
    for (let i = 1; i <= 1000; i++) hash.setKey(new Uint8Array(40).fill(i), 40);
    expect(fills()).toBe(0);
    for (let source = 0; source < 100; source++) look(source);
    expect(fills()).toBe(1);
  });

  it('count from the next frame on', () => {
    hash.setKey(new Uint8Array(40).fill(0x11), 40);
    const first = look(1);
    hash.setKey(new Uint8Array(40).fill(0x2d), 40);
    expect(look(1)).not.toBe(first);
    hash.setKey(new Uint8Array(40).fill(0x11), 40);
    expect(look(1)).toBe(first);
  });

  it('are forgotten when a connection begins', () => {
    hash.setKey(new Uint8Array(40).fill(0x11), 40);
    look(1);
    hash.begin();
    hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
    hash.setFlags(HASH_TYPE_IPV4);
    expect(look(1)).toBe(0);
  });
});
