import { describe, expect, test } from 'vitest';
import {
  RX_FLAG_CSUM_BLANK,
  RX_FLAG_DATA_VALIDATED,
  RX_FLAG_EXTRA_INFO,
  RX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import { ALL_FEATURES } from '../../lib/testing/netfront/features.js';
import { TrafficFrames } from '../../lib/testing/netfront/traffic-frames.js';
import { type ReceiveRig, receiveRig, respondRx } from './rig.js';

const CHECKSUM = RX_FLAG_CSUM_BLANK | RX_FLAG_DATA_VALIDATED;
const GSO_EXTRA = 1 | (1448 << 16);

function frameOf(length: number, sequence = 0): Uint8Array {
  const bytes = new Uint8Array(length + 16);
  new TrafficFrames(5).write(bytes, 16, length, sequence, true);
  return bytes.subarray(16);
}

/** Puts a frame into the slots from `index` on, as an honest backend does. @returns the index behind it. */
function give(rig: ReceiveRig, index: number, frame: Uint8Array, flags: number, gso: boolean): number {
  let at = index;
  for (let from = 0; from < frame.length; from += 4096) {
    const chunk = frame.subarray(from, from + 4096);
    rig.shares.page(rig.hand.word(at, 1)).set(chunk);
    const more = from + 4096 < frame.length ? RX_FLAG_MORE_DATA : 0;
    const first = from === 0 ? flags | (gso ? RX_FLAG_EXTRA_INFO : 0) : 0;
    respondRx(rig.hand, at, { flags: first | more, status: chunk.length });
    at += 1;
    if (from !== 0 || !gso) continue;
    rig.hand.write(at, 0, GSO_EXTRA);
    rig.hand.write(at, 1, 1);
    at += 1;
  }
  return at >>> 0;
}

function publish(rig: ReceiveRig, index: number): void {
  rig.hand.responses = index;
  rig.receive.pump();
}

describe('to-guest frames out of the ring', () => {
  test('begins with a ring full of buffers, granted for writing, and notifies the backend', () => {
    const rig = receiveRig();
    expect(rig.hand.requests).toBe(256);
    expect(rig.shares.grants.size).toBe(256);
    expect(rig.notified).toBe(1);
    const ids = Array.from({ length: 256 }, (_, index) => rig.hand.word(index, 0) & 0xffff);
    expect(ids).not.toEqual(ids.toSorted((a, b) => a - b));
  });

  test.each([60, 1514, 4096, 4097, 9014])('%i bytes come out as they went in', (length) => {
    const rig = receiveRig();
    const frame = frameOf(length);
    publish(rig, give(rig, 0, frame, RX_FLAG_DATA_VALIDATED, false));
    expect(rig.port.delivered.map((delivered) => delivered.bytes)).toEqual([[...frame]]);
    expect(rig.port.delivered[0]!.vnet).toEqual([2, ...Array(11).fill(0)]);
    expect(rig.violations.list).toEqual([]);
  });

  test('64 KiB of GSO come out as one frame, whose header has the segment size', () => {
    const rig = receiveRig();
    const frame = frameOf(65535);
    const end = give(rig, 0, frame, CHECKSUM, true);
    expect(end).toBe(17);
    publish(rig, end);
    expect(rig.port.delivered[0]!.bytes).toEqual([...frame]);
    // needs checksum, TCPv4, headers of 54 bytes, segments of 1448, checksum at 34 + 16
    expect(rig.port.delivered[0]!.vnet).toEqual([1, 1, 54, 0, 1448 & 255, 1448 >> 8, 34, 0, 16, 0, 0, 0]);
    expect(rig.violations.list).toEqual([]);
    expect(rig.receive.stats).toMatchObject({ frames: 1, gsoFrames: 1, bytes: 65535, responses: 17 });
  });

  test('a blank checksum is found in the headers', () => {
    const rig = receiveRig();
    publish(rig, give(rig, 0, frameOf(100), CHECKSUM, false));
    expect(rig.port.delivered[0]!.vnet).toEqual([1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0]);
  });

  test('a frame whose checksum field cannot be found is dropped, as Linux drops it', () => {
    const rig = receiveRig();
    publish(rig, give(rig, 0, new Uint8Array(100), CHECKSUM, false));
    expect(rig.port.delivered).toEqual([]);
    expect(rig.receive.stats.dropped).toBe(1);
    expect(rig.violations.total).toBe(0);
  });

  test('a frame may begin anywhere in its page', () => {
    const rig = receiveRig();
    const frame = frameOf(77);
    rig.shares.page(rig.hand.word(0, 1)).set(frame, 4019);
    respondRx(rig.hand, 0, { offset: 4019, status: 77 });
    publish(rig, 1);
    expect(rig.port.delivered[0]!.bytes).toEqual([...frame]);
  });

  test('slots with responses are posted again with new grants, and the batch is one port call', () => {
    const rig = receiveRig();
    const refs = [0, 1, 2].map((index) => rig.hand.word(index, 1));
    let index = 0;
    for (let i = 0; i < 3; i++) index = give(rig, index, frameOf(60, i), 0, false);
    publish(rig, index);
    expect(rig.hand.requests).toBe(259);
    expect(rig.shares.grants.size).toBe(256);
    expect(refs.some((ref) => rig.shares.grants.has(ref))).toBe(false);
    expect(rig.port.batches).toBe(1);
    expect(rig.port.delivered).toHaveLength(3);
  });

  test('many laps across the wrap of the indices lose nothing', () => {
    const start = 2 ** 32 - 1000;
    const rig = receiveRig({ ringStart: start });
    let index = start;
    const sizes = [60, 1514, 65535, 9000, 54];
    let bytes = 0;
    for (let i = 0; i < 400; i++) {
      const length = sizes[i % sizes.length]!;
      index = give(rig, index, frameOf(length, i), length > 1514 ? CHECKSUM : 0, length > 1514);
      bytes += length;
      if (i % 7 === 0) publish(rig, index);
    }
    publish(rig, index);
    expect(rig.violations.list).toEqual([]);
    expect(rig.receive.stats).toMatchObject({ frames: 400, bytes });
  });

  test('what the port does not take is counted as dropped', () => {
    const rig = receiveRig();
    rig.port.room = 1;
    const index = give(rig, give(rig, 0, frameOf(60), 0, false), frameOf(60, 1), 0, false);
    publish(rig, index);
    expect(rig.receive.stats.dropped).toBe(1);
  });

  test('a buffer given back with an error is counted and is no violation', () => {
    const rig = receiveRig();
    respondRx(rig.hand, 0, { status: -1 });
    respondRx(rig.hand, 1, { status: -2 });
    publish(rig, 2);
    expect(rig.receive.stats).toMatchObject({ errors: 2, frames: 0 });
    expect(rig.violations.total).toBe(0);
  });
});

describe('what a backend does wrong with to-guest responses', () => {
  function kinds(rig: ReceiveRig): string[] {
    expect(rig.violations.list.every((violation) => violation.ring === 'to-guest')).toBe(true);
    return rig.violations.list.map((violation) => violation.kind);
  }

  test('an id that is not the request’s', () => {
    const rig = receiveRig();
    respondRx(rig.hand, 0, { status: 60, id: (rig.hand.word(0, 0) + 1) & 0xffff });
    publish(rig, 1);
    expect(kinds(rig)).toEqual(['wrong-id']);
  });

  test('bytes beyond the page', () => {
    const rig = receiveRig();
    respondRx(rig.hand, 0, { offset: 4000, status: 97 });
    publish(rig, 1);
    expect(kinds(rig)).toEqual(['span-beyond-page']);
    expect(rig.port.delivered).toEqual([]);
  });

  test('more slots than a frame may have', () => {
    const rig = receiveRig();
    for (let i = 0; i < 19; i++)
      respondRx(rig.hand, i, { status: 100, flags: i < 18 ? RX_FLAG_MORE_DATA : 0 });
    publish(rig, 19);
    expect(kinds(rig)).toEqual(['chain-too-long']);
    expect(rig.hand.requests).toBe(256 + 19);
  });

  test('a chain that ends in the middle', () => {
    const rig = receiveRig();
    respondRx(rig.hand, 0, { status: 100, flags: RX_FLAG_MORE_DATA });
    publish(rig, 1);
    expect(kinds(rig)).toEqual(['chain-incomplete']);
  });

  test('extra info that does not come', () => {
    const rig = receiveRig();
    respondRx(rig.hand, 0, { status: 100, flags: RX_FLAG_EXTRA_INFO });
    publish(rig, 1);
    expect(kinds(rig)).toEqual(['missing-extra']);
  });

  test.each([0, 2, 4, 9])('extra info of type %i, which the frontend did not ask for', (type) => {
    const rig = receiveRig();
    give(rig, 0, frameOf(100), CHECKSUM, true);
    rig.hand.write(1, 0, type);
    publish(rig, 2);
    expect(kinds(rig)).toEqual(['bad-extra']);
  });

  test.each([
    ['size 0', 1, 1],
    ['an unknown type', GSO_EXTRA, 3],
  ])('GSO of %s', (_what, head, type) => {
    const rig = receiveRig();
    give(rig, 0, frameOf(2000), CHECKSUM, true);
    rig.hand.write(1, 0, head);
    rig.hand.write(1, 1, type);
    publish(rig, 2);
    expect(kinds(rig)).toEqual(['bad-gso']);
    expect(rig.port.delivered).toEqual([]);
  });

  test.each([0, RX_FLAG_CSUM_BLANK, RX_FLAG_DATA_VALIDATED])('GSO with flags %i only', (flags) => {
    const rig = receiveRig();
    publish(rig, give(rig, 0, frameOf(2000), flags, true));
    expect(kinds(rig)).toEqual(['bad-gso']);
    expect(rig.port.delivered).toHaveLength(1);
  });

  test('features that were not offered', () => {
    const none = { sg: false, gsoV4: false, gsoV6: false, checksumV4: false, checksumV6: false };
    const rig = receiveRig({ features: none });
    publish(rig, give(rig, 0, frameOf(9000), CHECKSUM, true));
    expect(rig.violations.list.map((violation) => violation.detail)).toEqual([
      'GSO of type 1',
      '3 slots without sg',
      'csum_blank without the offload',
    ]);
    expect(rig.violations.count('not-negotiated')).toBe(3);
    expect(ALL_FEATURES.sg).toBe(true);
  });

  test('a frame longer than announced, or too short for a header', () => {
    const rig = receiveRig({ frameBytesMax: 1518 });
    const index = give(rig, 0, frameOf(1519), 0, false);
    respondRx(rig.hand, index, { status: 13 });
    publish(rig, index + 1);
    expect(kinds(rig)).toEqual(['frame-too-large', 'frame-too-short']);
  });

  test('a page still mapped', () => {
    const rig = receiveRig();
    rig.shares.mapped.add(rig.hand.word(0, 1));
    publish(rig, give(rig, 0, frameOf(60), 0, false));
    expect(kinds(rig)).toEqual(['grant-in-use']);
  });

  test('an unknown status', () => {
    const rig = receiveRig();
    respondRx(rig.hand, 0, { status: -5 });
    publish(rig, 1);
    expect(kinds(rig)).toEqual(['unknown-status']);
  });

  test('more responses than requests, and req_prod overwritten', () => {
    const rig = receiveRig();
    publish(rig, 257);
    expect(kinds(rig)).toEqual(['responses-beyond-requests']);
    rig.hand.requests = 0;
    rig.receive.pump();
    expect(rig.violations.count('index-overwritten')).toBe(1);
  });
});
