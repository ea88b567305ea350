import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BackRing, RING_BROKEN } from '../../lib/netback/ring/back-ring.js';
import { CTRL_RING } from '../../lib/protocol/control.js';
import {
  RING_HEADER_WORDS,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
} from '../../lib/protocol/netif.js';
import { type RingShape, RX_RING, TX_RING } from '../../lib/protocol/ring.js';

/** Near both values at which a wrong index would fail: 2^31 and 2^32. */
const index = fc.oneof(
  fc.integer({ min: -600, max: 600 }).map((offset) => offset >>> 0),
  fc.integer({ min: 2 ** 31 - 600, max: 2 ** 31 + 600 }),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const shape = fc.constantFrom(TX_RING, RX_RING, CTRL_RING);

function ringAt(which: RingShape, start: number): { words: Uint32Array; ring: BackRing } {
  const page = new Uint8Array(4096);
  const words = new Uint32Array(page.buffer);
  for (const word of [RING_REQ_PROD, RING_RSP_PROD]) words[word] = start;
  words[RING_REQ_EVENT] = start + 1;
  words[RING_RSP_EVENT] = start + 1;
  const ring = new BackRing(page, which);
  expect(ring.attach()).toBe(true);
  return { words, ring };
}

function slotWord(which: RingShape, at: number, word: number): number {
  return RING_HEADER_WORDS + (at & (which.size - 1)) * which.slotWords + word;
}

describe('BackRing', () => {
  it('takes requests and publishes responses in order, wherever the indices are', () => {
    const turns = fc.array(fc.tuple(fc.nat(256), fc.nat(256), fc.boolean()), { maxLength: 12 });
    fc.assert(
      fc.property(shape, index, turns, (which, start, plan) => {
        const { words, ring } = ringAt(which, start);
        let produced = start;
        let responded = start;
        for (const [ask, respond, isPrepared] of plan) {
          const asked = Math.min(ask, which.size - ((produced - responded) >>> 0));
          for (let i = 0; i < asked; i++) {
            for (let word = 0; word < which.requestWords; word++) {
              words[slotWord(which, produced + i, word)] = ((produced + i) >>> 0) ^ (word << 28);
            }
          }
          produced = (produced + asked) >>> 0;
          words[RING_REQ_PROD] = produced;
          const waiting = ring.waiting();
          expect(waiting).toBe((produced - ring.requestsTaken) >>> 0);

          const into = new Uint32Array(waiting * which.requestWords);
          ring.copy(waiting, into);
          const expected = Array.from({ length: into.length }, (_, i) => {
            const request = (ring.requestsTaken + Math.floor(i / which.requestWords)) >>> 0;
            return (request ^ ((i % which.requestWords) << 28)) >>> 0;
          });
          expect([...into]).toEqual(expected);
          ring.take(waiting);
          expect(ring.requestsTaken).toBe(produced);

          const count = Math.min(respond, (produced - responded) >>> 0);
          const length = count * which.responseWords;
          // The caller prepares them in the ring's own array, or in another.
          const responses = isPrepared ? ring.responses : new Uint32Array(length);
          for (let i = 0; i < length; i++) responses[i] = responded + i;
          ring.publish(responses, count);
          for (let i = 0; i < length; i++) {
            const at = responded + Math.floor(i / which.responseWords);
            expect(words[slotWord(which, at, i % which.responseWords)]).toBe((responded + i) >>> 0);
          }
          responded = (responded + count) >>> 0;
          expect(words[RING_RSP_PROD]).toBe(responded);
          expect(ring.responsesPublished).toBe(responded);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('refuses a req_prod that claims more than the ring holds, or that runs backwards', () => {
    fc.assert(
      fc.property(shape, index, fc.nat(2 ** 32 - 1), (which, start, delta) => {
        const { words, ring } = ringAt(which, start);
        words[RING_REQ_PROD] = start + delta;
        expect(ring.waiting()).toBe(delta <= which.size ? delta : RING_BROKEN);
      }),
    );
    const { words, ring } = ringAt(TX_RING, 0);
    words[RING_REQ_PROD] = 10;
    expect(ring.waiting()).toBe(10);
    ring.take(10);
    words[RING_REQ_PROD] = 9;
    expect(ring.waiting()).toBe(RING_BROKEN);
  });

  it('attaches at rsp_prod, and not to a ring whose indices cannot be', () => {
    fc.assert(
      fc.property(shape, index, fc.nat(600), (which, start, pending) => {
        const { words, ring } = ringAt(which, start);
        words[RING_REQ_PROD] = start + pending;
        expect(ring.attach()).toBe(pending <= which.size);
        if (pending <= which.size) expect(ring.waiting()).toBe(pending);
      }),
    );
  });

  it('notifies exactly when rsp_event lies among the responses published', () => {
    fc.assert(
      fc.property(
        index,
        fc.integer({ min: 1, max: 256 }),
        fc.integer({ min: -300, max: 300 }),
        (start, count, event) => {
          const { words, ring } = ringAt(TX_RING, start);
          words[RING_RSP_EVENT] = start + event;
          const notify = ring.publish(new Uint32Array(count), count);
          expect(notify).toBe(event >= 1 && event <= count);
        },
      ),
    );
  });

  it('arms for the next request, and sees one that came before', () => {
    fc.assert(
      fc.property(index, fc.nat(3), (start, late) => {
        const { words, ring } = ringAt(TX_RING, start);
        words[RING_REQ_PROD] = start + 5;
        ring.waiting();
        words[RING_REQ_PROD] = start + 5 + late;
        expect(ring.arm()).toBe(late > 0);
        expect(words[RING_REQ_EVENT]).toBe((start + 6) >>> 0);
        expect(ring.requestsSeen).toBe((start + 5) >>> 0);
      }),
    );
  });

  it('leaves the words of a slot that a response does not have', () => {
    const { words, ring } = ringAt(TX_RING, 0);
    words.fill(0xaaaaaaaa, RING_HEADER_WORDS);
    ring.publish(Uint32Array.of(1, 2), 2);
    const slots = [...words.subarray(RING_HEADER_WORDS, RING_HEADER_WORDS + 7)];
    expect(slots).toEqual([1, 0xaaaaaaaa, 0xaaaaaaaa, 2, 0xaaaaaaaa, 0xaaaaaaaa, 0xaaaaaaaa]);
  });
});
