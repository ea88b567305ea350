import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  RSP_DROPPED,
  RSP_ERROR,
  RSP_NULL,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_DATA_VALIDATED,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import { Checker } from '../../lib/testing/netfront/checker.js';
import { answerTx, type TransmitRig, transmitRig, txRequest } from './rig.js';

/** Takes one frame off the ring as an honest backend does. @returns the index behind it. */
function takeFrame(rig: TransmitRig, from: number, checker?: Checker): number {
  const { hand, shares } = rig;
  const first = txRequest(hand, from);
  let index = from + 1;
  if ((first.flags & TX_FLAG_EXTRA_INFO) !== 0) {
    answerTx(hand, index, 0, RSP_NULL);
    index += 1;
  }
  const rest: Uint8Array[] = [];
  const ids = [first.id];
  const slots = [from];
  let flags = first.flags;
  let left = first.size;
  while ((flags & TX_FLAG_MORE_DATA) !== 0) {
    const { ref, offset, size, id, flags: more } = txRequest(hand, index);
    rest.push(shares.page(ref).slice(offset, offset + size));
    ids.push(id);
    slots.push(index);
    left -= size;
    flags = more;
    index += 1;
  }
  const header = Buffer.alloc(12);
  header[0] = (first.flags & TX_FLAG_CSUM_BLANK) !== 0 ? 1 : 0;
  const frame = Buffer.concat([
    header,
    shares.page(first.ref).slice(first.offset, first.offset + left),
    ...rest,
  ]);
  checker?.take(frame, 12, frame.length - 12);
  for (const [i, id] of ids.entries()) answerTx(hand, slots[i]!, id);
  return index >>> 0;
}

describe('from-guest frames in the ring', () => {
  test('60 bytes are one slot, at offset 64 of a page of their own', () => {
    const rig = transmitRig({ seed: 1, sizes: [60], frames: 2 });
    rig.transmit.pump();
    expect(rig.hand.requests).toBe(2);
    expect(txRequest(rig.hand, 0)).toMatchObject({
      offset: 64,
      size: 60,
      flags: TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED,
    });
    expect(txRequest(rig.hand, 1).ref).not.toBe(txRequest(rig.hand, 0).ref);
    expect(rig.notified).toBe(1);
  });

  test('1514 bytes are one slot, without checksum flags when the checksum is there', () => {
    const rig = transmitRig({ seed: 1, sizes: [1514], frames: 1, partialChecksum: false });
    rig.transmit.pump();
    expect(rig.hand.requests).toBe(1);
    expect(txRequest(rig.hand, 0)).toMatchObject({ offset: 64, size: 1514, flags: 0 });
  });

  test('64 KiB are 17 slots and a GSO extra, and the first has the size of all', () => {
    const rig = transmitRig({ seed: 1, sizes: [65535], frames: 1 });
    rig.transmit.pump();
    expect(rig.hand.requests).toBe(18);
    const first = txRequest(rig.hand, 0);
    const checksum = TX_FLAG_CSUM_BLANK | TX_FLAG_DATA_VALIDATED;
    expect(first).toMatchObject({ size: 65535, flags: checksum | TX_FLAG_EXTRA_INFO | TX_FLAG_MORE_DATA });
    expect([rig.hand.word(1, 0), rig.hand.word(1, 1)]).toEqual([1 | (1448 << 16), 1]);
    const rest = Array.from({ length: 16 }, (_, i) => txRequest(rig.hand, 2 + i));
    expect(rest.map((slot) => slot.flags)).toEqual([...Array(15).fill(TX_FLAG_MORE_DATA), 0]);
    expect(rest.every((slot) => slot.offset === 0)).toBe(true);
    expect(rest.reduce((sum, slot) => sum + slot.size, 4096 - 64)).toBe(65535);
  });

  test('ids in flight are all different, and in no order', () => {
    const rig = transmitRig({ seed: 1, sizes: [60] });
    rig.transmit.pump();
    const ids = Array.from({ length: 256 }, (_, i) => txRequest(rig.hand, i).id);
    expect(new Set(ids).size).toBe(256);
    expect(ids).not.toEqual(ids.toSorted((a, b) => a - b));
  });

  test('a full ring stops the reading until there is room', () => {
    const rig = transmitRig({ seed: 1, sizes: [60] });
    rig.transmit.pump();
    expect(rig.hand.requests).toBe(256);
    const sent = rig.port.generator!.sent;
    rig.clock.nowMs = 40;
    rig.transmit.pump();
    expect(rig.port.generator!.sent).toBe(sent);
    let index = 0;
    for (let i = 0; i < 10; i++) index = takeFrame(rig, index);
    rig.hand.responses = index;
    rig.transmit.pump();
    expect(rig.hand.requests).toBe(266);
    expect(rig.transmit.stats.ringFull).toBeGreaterThan(0);
    for (; index < 266; ) index = takeFrame(rig, index);
    rig.hand.responses = index;
    rig.transmit.pump();
    expect(rig.transmit.stats.ringFullMs).toBeGreaterThan(0);
    expect(rig.violations.list).toEqual([]);
  });

  test('a grant ends with its response', () => {
    const rig = transmitRig({ seed: 1, sizes: [60], frames: 1 });
    rig.transmit.pump();
    expect(rig.shares.grants.size).toBe(1);
    rig.hand.responses = takeFrame(rig, 0);
    rig.transmit.pump();
    expect(rig.shares.grants.size).toBe(0);
  });

  test('errors and drops are counted and are no violation', () => {
    const rig = transmitRig({ seed: 1, sizes: [60], frames: 2 });
    rig.transmit.pump();
    answerTx(rig.hand, 0, txRequest(rig.hand, 0).id, RSP_ERROR);
    answerTx(rig.hand, 1, txRequest(rig.hand, 1).id, RSP_DROPPED);
    rig.hand.responses = 2;
    rig.transmit.pump();
    expect(rig.transmit.stats).toMatchObject({ errors: 1, dropped: 1, responses: 2 });
    expect(rig.violations.total).toBe(0);
  });

  test('every byte arrives, whatever the sizes, over many laps of the ring and the wrap of its indices', () => {
    const size = fc.oneof(
      fc.integer({ min: 54, max: 1514 }),
      fc.integer({ min: 1515, max: 65535 }),
      // A last page of a few bytes, which the next frame may share.
      fc.integer({ min: 1, max: 15 }).map((pages) => pages * 4096 - 64 + 20),
    );
    const turns = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(fc.array(size, { minLength: 1, maxLength: 20 }), turns, (sizes, frames) => {
        const start = 2 ** 32 - 300;
        const rig = transmitRig({ seed: 3, sizes }, { ringStart: start });
        const checker = new Checker({ seed: 3 });
        let index = start;
        let whole = 0;
        for (const count of frames) {
          rig.transmit.pump();
          for (let i = 0; i < count && index !== rig.hand.requests; i++) {
            index = takeFrame(rig, index, checker);
            whole += 1;
          }
          rig.hand.responses = index;
        }
        expect(rig.violations.list).toEqual([]);
        expect(checker.counts).toMatchObject({ frames: whole, lost: 0, repeated: 0, damaged: 0, foreign: 0 });
        expect(whole).toBeGreaterThanOrEqual(frames.length);
      }),
      { numRuns: 30 },
    );
  });

  test('reads again when the port reports that frames wait', async () => {
    const rig = transmitRig({ seed: 1, sizes: [60], frames: 1 });
    rig.transmit.pump();
    rig.port.send(2);
    await Promise.resolve();
    expect(rig.hand.requests).toBe(3);
  });
});

describe('what a backend does wrong with from-guest responses', () => {
  /** Three small frames wait for responses. */
  function three(options = {}): TransmitRig & { ids: number[] } {
    const rig = transmitRig({ seed: 1, sizes: [60], frames: 3 }, options);
    rig.transmit.pump();
    return Object.assign(rig, { ids: [0, 1, 2].map((index) => txRequest(rig.hand, index).id) });
  }

  test('the id of another request', () => {
    const rig = three();
    answerTx(rig.hand, 0, rig.ids[1]!);
    rig.hand.responses = 1;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'wrong-id', ring: 'from-guest', slot: 0 }]);
  });

  test('an id beyond the ring', () => {
    const rig = three({ inOrder: false });
    answerTx(rig.hand, 0, 256);
    rig.hand.responses = 1;
    rig.transmit.pump();
    expect(rig.violations.list.map((violation) => violation.kind)).toEqual(['wrong-id']);
  });

  test('any order is allowed where order was not promised', () => {
    const rig = three({ inOrder: false });
    [2, 0, 1].forEach((request, index) => {
      answerTx(rig.hand, index, rig.ids[request]!);
    });
    rig.hand.responses = 3;
    rig.transmit.pump();
    expect(rig.violations.total).toBe(0);
    expect(rig.shares.grants.size).toBe(0);
  });

  test('an id that had its response before', () => {
    const rig = three();
    answerTx(rig.hand, 0, rig.ids[0]!);
    answerTx(rig.hand, 1, rig.ids[0]!);
    rig.hand.responses = 2;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'repeated-id', slot: 1 }]);
  });

  test('an id that was never used', () => {
    const rig = three();
    const unused = [0, 1, 2, 3].find((id) => !rig.ids.includes(id))!;
    answerTx(rig.hand, 0, unused);
    rig.hand.responses = 1;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'idle-slot', slot: 0 }]);
  });

  test('more responses than requests, reported once', () => {
    const rig = three();
    rig.hand.responses = 4;
    rig.transmit.pump();
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'responses-beyond-requests' }]);
  });

  test('rsp_prod running backwards', () => {
    const rig = three();
    answerTx(rig.hand, 0, rig.ids[0]!);
    rig.hand.responses = 1;
    rig.transmit.pump();
    rig.hand.responses = 0;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'responses-beyond-requests' }]);
  });

  test('req_prod overwritten', () => {
    const rig = three();
    rig.hand.requests = 7;
    rig.transmit.pump();
    expect(rig.violations.count('index-overwritten')).toBe(1);
  });

  test('a page still mapped', () => {
    const rig = three();
    rig.shares.mapped.add(txRequest(rig.hand, 0).ref);
    answerTx(rig.hand, 0, rig.ids[0]!);
    rig.hand.responses = 1;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'grant-in-use', slot: 0 }]);
  });

  test.each([7, -3, RSP_NULL])('status %i for data', (status) => {
    const rig = three();
    answerTx(rig.hand, 0, rig.ids[0]!, status);
    rig.hand.responses = 1;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'unknown-status', slot: 0 }]);
  });

  test('a response for data to extra info', () => {
    const rig = transmitRig({ seed: 1, sizes: [2000], frames: 1 });
    rig.transmit.pump();
    answerTx(rig.hand, 0, txRequest(rig.hand, 0).id);
    answerTx(rig.hand, 1, 0, 0);
    rig.hand.responses = 2;
    rig.transmit.pump();
    expect(rig.violations.list).toMatchObject([{ kind: 'extra-not-null', slot: 1 }]);
  });
});
