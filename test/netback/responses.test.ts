import { describe, expect, it } from 'vitest';
import { BackRing } from '../../lib/netback/ring/back-ring.js';
import { CTRL_RING } from '../../lib/protocol/control.js';
import * as netif from '../../lib/protocol/netif.js';
import { RX_RING, TX_RING } from '../../lib/protocol/ring.js';

const { RING_HEADER_WORDS, RING_PAGE_BYTES, RING_REQ_PROD, RING_RSP_PROD } = netif;
const REQUEST = 0x5a5a_5a5a;

describe.each([
  ['TX', TX_RING],
  ['RX', RX_RING],
  ['control', CTRL_RING],
])('responses in the %s ring', (_name, shape) => {
  const { size, slotWords, responseWords } = shape;

  /** The words of the page after `count` responses from index `first` on. */
  function published(first: number, count: number): number[] {
    const words = new Uint32Array(RING_PAGE_BYTES / 4).fill(REQUEST);
    for (let i = 0; i < count; i++) {
      const at = RING_HEADER_WORDS + ((first + i) % size) * slotWords;
      for (let word = 0; word < responseWords; word++) words[at + word] = 1000 * i + word;
    }
    words[RING_RSP_PROD] = first + count;
    return [...words.subarray(RING_RSP_PROD, RING_RSP_PROD + 1), ...words.subarray(RING_HEADER_WORDS)];
  }

  it('stand in their own slots, and change no other word, at each place and of each number', () => {
    for (let first = size - 14; first <= size + 2; first++) {
      for (const count of [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, size - 1, size]) {
        const page = new Uint8Array(RING_PAGE_BYTES);
        const words = new Uint32Array(page.buffer).fill(REQUEST);
        words[RING_REQ_PROD] = first + count;
        words[RING_RSP_PROD] = first;
        const ring = new BackRing(page, shape);
        expect(ring.attach()).toBe(true);
        for (let i = 0; i < count; i++) {
          for (let word = 0; word < responseWords; word++)
            ring.responses[i * responseWords + word] = 1000 * i + word;
        }
        ring.take(count);
        ring.publish(ring.responses, count);
        const seen = [words[RING_RSP_PROD], ...words.subarray(RING_HEADER_WORDS)];
        expect(seen, `${count} from ${first}`).toEqual(published(first, count));
      }
    }
  });
});
