import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { HASH_BANKS } from '../../lib/durable/layout.js';
import { ANY_QUEUE, HashState, isSoundHash } from '../../lib/netback/guest/hash.js';
import {
  HASH_ALGORITHM_NONE,
  HASH_ALGORITHM_TOEPLITZ,
  HASH_MAPPING_MAX,
  HASH_TYPE_IPV4,
  HASH_TYPE_IPV4_TCP,
  HASH_TYPES,
} from '../../lib/protocol/control.js';
import { frameOf, IPV4_VECTORS, RSS_KEY } from '../protocol/hash-vectors.js';

const QUEUES = 4;
const [V4] = IPV4_VECTORS;
const FRAME = frameOf(V4);

const HASH_WORDS = HASH_BANKS.words;

function setUp(words = new Uint32Array(HASH_WORDS)): HashState {
  const hash = new HashState(new DurableWords(words), QUEUES);
  hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
  hash.setFlags(HASH_TYPES);
  hash.setKey(RSS_KEY, RSS_KEY.length);
  return hash;
}

/** The queue of the frame with these first bytes. */
function queueOf(hash: HashState, bytes = FRAME.length): number {
  hash.look(FRAME, 0, bytes);
  return hash.queueOf(hash.value);
}

function shown(words: Uint32Array): unknown {
  const hash = new HashState(new DurableWords(words), QUEUES);
  return [hash.algorithm, hash.flags, [...hash.mapping], [...hash.key]];
}

describe("a guest's hash set-up", () => {
  it('leaves the choice of queues to us until there are algorithm and types', () => {
    const hash = new HashState(DurableWords.ofProcess(HASH_WORDS), QUEUES);
    expect(queueOf(hash)).toBe(ANY_QUEUE);
    hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
    expect(queueOf(hash)).toBe(ANY_QUEUE);
    hash.setFlags(HASH_TYPE_IPV4);
    expect(queueOf(hash)).toBe(0);
    hash.setAlgorithm(HASH_ALGORITHM_NONE);
    expect(queueOf(hash)).toBe(ANY_QUEUE);
  });

  it('chooses by the remainder without a mapping, and by the mapping with one', () => {
    const hash = setUp();
    expect([hash.look(FRAME, 0, FRAME.length), hash.value]).toEqual([HASH_TYPE_IPV4_TCP, V4.ofPorts]);
    expect(queueOf(hash)).toBe(V4.ofPorts % QUEUES);
    expect(hash.setMappingSize(HASH_MAPPING_MAX)).toBe(true);
    expect(queueOf(hash)).toBe(0);
    const place = V4.ofPorts % HASH_MAPPING_MAX;
    expect(hash.setMapping(Uint32Array.of(3), place, 1)).toBe(true);
    expect(queueOf(hash)).toBe(3);
    // No hash: as hash 0.
    expect(queueOf(hash, 20)).toBe(0);
    hash.setMapping(Uint32Array.of(2), 0, 1);
    expect(queueOf(hash, 20)).toBe(2);
  });

  it('stays as it was when a change is refused', () => {
    const hash = setUp();
    hash.setMappingSize(8);
    hash.setMapping(Uint32Array.of(1, 2, 3), 2, 3);
    expect(hash.setMapping(Uint32Array.of(0, QUEUES), 0, 2)).toBe(false);
    expect(hash.setMappingSize(HASH_MAPPING_MAX + 1)).toBe(false);
    expect(hash.setFlags(HASH_TYPES + 1)).toBe(false);
    expect(hash.setFlags(0x80000001)).toBe(false);
    expect(hash.setAlgorithm(2)).toBe(false);
    expect([hash.algorithm, hash.flags, ...hash.mapping]).toEqual([1, 15, 0, 0, 1, 2, 3, 0, 0, 0]);
    expect([hash.hasEntries(8, 0), hash.hasEntries(0, 9), hash.hasEntries(0xffffffff, 2)]).toEqual([
      true,
      false,
      false,
    ]);
    hash.setAlgorithm(HASH_ALGORITHM_NONE);
    expect(hash.setFlags(HASH_TYPE_IPV4)).toBe(false);
  });

  it('has zeros behind a key that is short', () => {
    const hash = setUp();
    hash.setKey(RSS_KEY, 3);
    expect([...hash.key]).toEqual([...RSS_KEY.slice(0, 3), ...Array<number>(37).fill(0)]);
    hash.setKey(RSS_KEY, 0);
    hash.look(FRAME, 0, FRAME.length);
    expect(hash.value).toBe(0);
  });

  it('is before or after a change, wherever a process ends', () => {
    type Change = (hash: HashState) => void;
    const changes: Change[] = [
      (hash) => hash.setMappingSize(6),
      (hash) => hash.setMapping(Uint32Array.of(3, 2, 1), 1, 3),
      (hash) => hash.setKey(RSS_KEY.slice().reverse(), 40),
      (hash) => hash.setFlags(HASH_TYPE_IPV4),
      (hash) => hash.setAlgorithm(HASH_ALGORITHM_NONE),
    ];
    for (const [i, change] of changes.entries()) {
      const first = new Uint32Array(HASH_WORDS);
      const before = setUp(first);
      for (const done of changes.slice(0, i)) done(before);
      const then = shown(first);
      const whole = first.slice();
      change(new HashState(new DurableWords(whole), QUEUES));
      const seen = new Set<string>();
      for (let step = 1; ; step++) {
        const words = first.slice();
        let steps = 0;
        const kill = () => {
          if (++steps === step) throw new Error('killed');
        };
        const hash = new HashState(new DurableWords(words, kill), QUEUES);
        let killed = true;
        try {
          change(hash);
          killed = false;
        } catch {
          expect(isSoundHash(new DurableWords(words), QUEUES)).toBe(true);
        }
        if (!killed) break;
        seen.add(JSON.stringify(shown(words)));
      }
      expect([...seen]).toEqual([JSON.stringify(then), JSON.stringify(shown(whole))]);
    }
  });

  it('takes of a journal what a guest can have set up, and hashes with it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: HASH_WORDS * 4, maxLength: HASH_WORDS * 4 }), (bytes) => {
        const words = new Uint32Array(bytes.slice().buffer);
        words[0] &= 1;
        if (!isSoundHash(new DurableWords(words), QUEUES)) return;
        const queue = queueOf(new HashState(new DurableWords(words), QUEUES));
        expect(queue).toBeLessThan(QUEUES);
      }),
    );
    const words = new Uint32Array(HASH_WORDS);
    const hash = setUp(words);
    hash.setMappingSize(4);
    hash.setMapping(Uint32Array.of(0, 1, 2, 3), 0, 4);
    expect(isSoundHash(new DurableWords(words), QUEUES)).toBe(true);
    // Fewer queues than it was made for.
    expect(isSoundHash(new DurableWords(words), QUEUES - 1)).toBe(false);
    for (const [at, value] of [
      [0, 2],
      [1, 2],
      [2, 16],
      [3, HASH_MAPPING_MAX + 1],
    ] as const) {
      const wrong = words.slice();
      // The bank that counts is moved to the first.
      if (wrong[0] === 1) wrong.copyWithin(1, 1 + (HASH_WORDS - 1) / 2);
      wrong[0] = 0;
      expect(isSoundHash(new DurableWords(wrong), QUEUES)).toBe(true);
      wrong[at] = value;
      expect(isSoundHash(new DurableWords(wrong), QUEUES)).toBe(false);
    }
  });
});
