import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  HASH_TYPE_IPV4,
  HASH_TYPE_IPV4_TCP,
  HASH_TYPE_IPV6,
  HASH_TYPE_IPV6_TCP,
} from '../../lib/protocol/control.js';
import {
  EXTRA_FLAG_MORE,
  EXTRA_TYPE_GSO,
  EXTRA_TYPE_XDP,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  RSP_ERROR,
  RX_FLAG_CSUM_BLANK,
  RX_FLAG_EXTRA_INFO,
  RX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import { refuseRx, respondRx, rxPagesNeeded, rxSlotAfter, rxSlotsNeeded } from '../../lib/protocol/rx.js';

const SLOTS = 24;

interface Answer {
  readonly id: number;
  readonly offset: number;
  readonly flags: number;
  readonly status: number;
}

/** Requests whose ids do not follow from their slots, and responses full of bytes that must be overwritten. */
function answer(first: number, bytes: number, flags: number, gso: number): Uint32Array {
  const requests = Uint32Array.from({ length: SLOTS * 2 }, (_, i) =>
    i % 2 === 0 ? 0x5a5a0000 | (60000 + i) : i,
  );
  const responses = new Uint32Array(SLOTS * 2).fill(0xaaaaaaaa);
  respondRx(requests, first, bytes, flags, gso, responses);
  return responses;
}

function decode(responses: Uint32Array, slot: number): Answer {
  const [low, high] = responses.subarray(slot * 2, slot * 2 + 2);
  return { id: low! & 0xffff, offset: low! >>> 16, flags: high! & 0xffff, status: high! >> 16 };
}

const idOf = (slot: number): number => 60000 + slot * 2;

describe('respondRx', () => {
  it('writes the bytes in each page, in the slot whose request it consumes', () => {
    const gso = fc.constantFrom(0, GSO_TYPE_TCPV4 | (1448 << 16), GSO_TYPE_TCPV6 | (8948 << 16));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 65553 }), fc.nat(4), gso, (bytes, first, kind) => {
        const responses = answer(first, bytes, RX_FLAG_CSUM_BLANK, kind);
        const pages = Math.ceil(bytes / 4096);
        expect(rxPagesNeeded(bytes)).toBe(pages);
        expect(rxSlotsNeeded(bytes, kind)).toBe(kind === 0 ? pages : pages + 1);
        let slot = first;
        let sum = 0;
        for (let page = 0; page < pages; page++) {
          const { id, offset, flags, status } = decode(responses, slot);
          expect([id, offset]).toEqual([idOf(slot), 0]);
          expect((flags & RX_FLAG_MORE_DATA) !== 0).toBe(page < pages - 1);
          expect((flags & RX_FLAG_EXTRA_INFO) !== 0).toBe(page === 0 && kind !== 0);
          expect((flags & RX_FLAG_CSUM_BLANK) !== 0).toBe(page === 0);
          expect(status).toBe(Math.min(4096, bytes - sum));
          sum += status;
          slot = rxSlotAfter(slot, first, kind);
        }
        expect(sum).toBe(bytes);
        expect(slot).toBe(first + rxSlotsNeeded(bytes, kind));
        const untouched = [...responses.subarray(0, first * 2), ...responses.subarray(slot * 2)];
        expect(untouched.every((word) => word === 0xaaaaaaaa)).toBe(true);
      }),
    );
  });

  it('leaves headroom at the beginning of each page, counts it in the status, and writes it in an extra', () => {
    const gso = fc.constantFrom(0, GSO_TYPE_TCPV4 | (1448 << 16));
    const sizes = fc.integer({ min: 1, max: 30_000 });
    fc.assert(
      fc.property(
        sizes,
        fc.nat(4),
        gso,
        fc.integer({ min: 1, max: 2048 }),
        (bytes, first, kind, headroom) => {
          const requests = new Uint32Array(SLOTS * 2);
          const responses = new Uint32Array(SLOTS * 2).fill(0xaaaaaaaa);
          fc.pre(first + rxSlotsNeeded(bytes, kind, headroom) <= SLOTS);
          respondRx(requests, first, bytes, 0, kind, responses, headroom);
          let slot = first;
          let sum = 0;
          for (let page = 0; page < rxPagesNeeded(bytes, headroom); page++) {
            const { flags, status } = decode(responses, slot);
            expect((flags & RX_FLAG_EXTRA_INFO) !== 0).toBe(page === 0);
            sum += status - headroom;
            expect((flags & RX_FLAG_MORE_DATA) !== 0).toBe(sum < bytes);
            slot = rxSlotAfter(slot, first, kind, headroom);
          }
          expect([sum, slot]).toEqual([bytes, first + rxSlotsNeeded(bytes, kind, headroom)]);
          const extras = responses.subarray((first + 1) * 2, (first + (kind === 0 ? 2 : 3)) * 2);
          const xdp = [EXTRA_TYPE_XDP | (headroom << 16), 0];
          const more = EXTRA_FLAG_MORE << 8;
          const expected = kind === 0 ? xdp : [EXTRA_TYPE_GSO | more | (1448 << 16), GSO_TYPE_TCPV4, ...xdp];
          expect([...extras]).toEqual(expected);
        },
      ),
    );
  });

  it('writes a hash between the other extras, least byte first', () => {
    const gso = GSO_TYPE_TCPV4 | (1448 << 16);
    const more = EXTRA_FLAG_MORE << 8;
    const requests = new Uint32Array(SLOTS * 2);
    const told = (kind: number, headroom: number, type: number) => {
      const responses = new Uint32Array(SLOTS * 2).fill(0xaaaaaaaa);
      respondRx(requests, 1, 3000, 0, kind, responses, headroom, type, 0xfedcba98);
      const slots = rxSlotsNeeded(3000, kind, headroom, type);
      expect(rxSlotAfter(1, 1, kind, headroom, type)).toBe(1 + slots);
      expect(decode(responses, 1).flags).toBe(RX_FLAG_EXTRA_INFO);
      return [...responses.subarray(4, (1 + slots) * 2)];
    };
    const value = 0xfedcba98;
    expect(told(0, 0, HASH_TYPE_IPV4)).toEqual([0x01000004, value]);
    expect(told(0, 0, HASH_TYPE_IPV6_TCP)).toEqual([0x01030004, value]);
    expect(told(gso, 256, HASH_TYPE_IPV4_TCP)).toEqual([
      EXTRA_TYPE_GSO | more | (1448 << 16),
      GSO_TYPE_TCPV4,
      0x01010004 | more,
      value,
      EXTRA_TYPE_XDP | (256 << 16),
      0,
    ]);
    expect(told(gso, 0, HASH_TYPE_IPV6)).toEqual([
      EXTRA_TYPE_GSO | more | (1448 << 16),
      GSO_TYPE_TCPV4,
      0x01020004,
      value,
    ]);
  });

  it('puts the GSO extra into the second slot, every byte of it written', () => {
    const responses = answer(3, 5000, 0, GSO_TYPE_TCPV6 | (65535 << 16));
    expect([...responses.subarray(8, 10)]).toEqual(
      [EXTRA_TYPE_GSO | 0xffff0000, GSO_TYPE_TCPV6].map((w) => w >>> 0),
    );
    expect(decode(responses, 5)).toEqual({ id: idOf(5), offset: 0, flags: 0, status: 904 });
  });

  it('takes a second slot for the extra of a frame of one page', () => {
    const responses = answer(0, 4000, 0, GSO_TYPE_TCPV4 | (1448 << 16));
    expect(decode(responses, 0)).toEqual({ id: idOf(0), offset: 0, flags: RX_FLAG_EXTRA_INFO, status: 4000 });
    expect(rxSlotsNeeded(4000, GSO_TYPE_TCPV4 | (1448 << 16))).toBe(2);
  });

  it('needs one slot for a frame without bytes', () => {
    expect(rxSlotsNeeded(0, 0)).toBe(1);
  });
});

describe('refuseRx', () => {
  it('responds with a status and nothing else', () => {
    const responses = new Uint32Array(4).fill(0xaaaaaaaa);
    refuseRx(Uint32Array.of(1, 2, 0xffff0007, 4), 1, RSP_ERROR, responses);
    expect(decode(responses, 1)).toEqual({ id: 7, offset: 0, flags: 0, status: RSP_ERROR });
  });
});
