import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  RING_HEADER_WORDS,
  RING_REQ_EVENT,
  RING_REQ_PROD,
  RING_RSP_EVENT,
  RING_RSP_PROD,
  TX_RING_SIZE,
  TX_SLOT_WORDS,
} from '../../lib/protocol/netif.js';
import { FrontRing, RESPONSES_IMPOSSIBLE } from '../../lib/testing/netfront/ring.js';
import { type FakePages, FakeShares } from './rig.js';

const NEAR_WRAP = 2 ** 32 - 3;

function open(start?: number): { ring: FrontRing; page: FakePages } {
  const page = new FakeShares().allocate(1);
  const options = { page, size: TX_RING_SIZE, slotWords: TX_SLOT_WORDS };
  return { page, ring: new FrontRing(start === undefined ? options : { ...options, start }) };
}

describe('the frontend end of a ring', () => {
  test('begins as SHARED_RING_INIT leaves it', () => {
    const { page } = open();
    expect([...page.u32.subarray(0, RING_HEADER_WORDS)]).toEqual([0, 1, 0, 1, ...Array(12).fill(0)]);
  });

  test('has room for as many requests as it has slots, also across the wrap of the indices', () => {
    const { ring, page } = open(NEAR_WRAP);
    const indices = Array.from({ length: TX_RING_SIZE }, () => ring.produce());
    expect(indices.slice(0, 5)).toEqual([NEAR_WRAP, NEAR_WRAP + 1, NEAR_WRAP + 2, 0, 1]);
    expect(ring.free).toBe(0);
    ring.push();
    expect(page.u32[RING_REQ_PROD]).toBe((NEAR_WRAP + TX_RING_SIZE) % 2 ** 32);
  });

  test('asks for no event when nothing was produced', () => {
    expect(open().ring.push()).toBe(false);
  });

  test('notifies when, and only when, the batch crosses req_event', () => {
    fc.assert(
      fc.property(fc.integer({ min: -400, max: 400 }), fc.integer({ min: 1, max: 256 }), (ahead, count) => {
        const { ring, page } = open(NEAR_WRAP);
        page.u32[RING_REQ_EVENT] = NEAR_WRAP + ahead;
        for (let i = 0; i < count; i++) ring.produce();
        expect(ring.push()).toBe(ahead >= 1 && ahead <= count);
      }),
    );
  });

  test('sees responses, and those that cannot be', () => {
    const { ring, page } = open(NEAR_WRAP);
    for (let i = 0; i < 6; i++) ring.produce();
    ring.push();
    page.u32[RING_RSP_PROD] = NEAR_WRAP + 6;
    expect(ring.responses()).toBe(6);
    page.u32[RING_RSP_PROD] = NEAR_WRAP + 7;
    expect(ring.responses()).toBe(RESPONSES_IMPOSSIBLE);
    page.u32[RING_RSP_PROD] = NEAR_WRAP - 1;
    expect(ring.responses()).toBe(RESPONSES_IMPOSSIBLE);
  });

  test('arms the event behind what was taken, and looks once more', () => {
    const { ring, page } = open(NEAR_WRAP);
    for (let i = 0; i < 6; i++) ring.produce();
    ring.push();
    page.u32[RING_RSP_PROD] = NEAR_WRAP + 5;
    ring.consume(5);
    expect(ring.arm()).toBe(false);
    expect(page.u32[RING_RSP_EVENT]).toBe((NEAR_WRAP + 6) % 2 ** 32);
    page.u32[RING_RSP_PROD] = NEAR_WRAP + 6;
    expect(ring.arm()).toBe(true);
  });

  test('notices that the other end wrote its index', () => {
    const { ring, page } = open();
    expect(ring.intact()).toBe(true);
    page.u32[RING_REQ_PROD] = 5;
    expect(ring.intact()).toBe(false);
  });

  test('agrees with a queue, whatever is produced, published and consumed', () => {
    const step = fc.record({ produce: fc.nat(300), respond: fc.nat(300) });
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        fc.array(step, { maxLength: 40 }),
        (start, steps) => {
          const { ring, page } = open(start);
          let outstanding = 0;
          let responded = 0;
          for (const { produce, respond } of steps) {
            const added = Math.min(produce, ring.free);
            for (let i = 0; i < added; i++) ring.produce();
            ring.push();
            outstanding += added;
            const now = Math.min(respond, outstanding);
            responded += now;
            page.u32[RING_RSP_PROD] = start + responded;
            expect(ring.responses()).toBe(now);
            ring.consume(now);
            outstanding -= now;
            expect(ring.outstanding).toBe(outstanding);
            expect(ring.free).toBe(TX_RING_SIZE - outstanding);
          }
        },
      ),
    );
  });
});
