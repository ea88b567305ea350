import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  EXTRA_FLAG_MORE,
  EXTRA_TYPE_GSO,
  EXTRA_TYPE_HASH,
  EXTRA_TYPE_MCAST_ADD,
  EXTRA_TYPE_XDP,
  GSO_TYPE_TCPV4,
  GSO_TYPE_TCPV6,
  RSP_ERROR,
  RSP_NULL,
  RSP_OKAY,
  TX_FLAG_CSUM_BLANK,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import { parseTx, ROLE_DATA, ROLE_FIRST, ROLE_NONE, ROLE_REFUSED, TxFrames } from '../../lib/protocol/tx.js';

type Slot = readonly [number, number, number];

function data(id: number, size: number, flags = 0, offset = 0): Slot {
  return [0x1000 + id, offset | (flags << 16), id | (size << 16)];
}

/** An extra-info segment; the slot's third word is older than it. */
function extra(type: number, more = false, gsoSize = 0, gsoType = 0): Slot {
  return [type | ((more ? EXTRA_FLAG_MORE : 0) << 8) | (gsoSize << 16), gsoType, 0xdeadbeef];
}

function parse(slots: readonly Slot[], whole = true): { frames: TxFrames; words: Uint32Array } {
  const words = Uint32Array.from(slots.flat());
  const frames = new TxFrames(256);
  parseTx(words, slots.length, whole, frames);
  return { frames, words };
}

function responses(frames: TxFrames): { id: number; status: number }[] {
  return Array.from(frames.responses.subarray(0, frames.slots), (word) => ({
    id: word & 0xffff,
    status: word >> 16,
  }));
}

/** A frame of pieces with `extras` behind its first slot. */
function frameOf(pieces: readonly number[], extras: readonly Slot[] = [], id = 1): Slot[] {
  const size = pieces.reduce((sum, piece) => sum + piece, 0);
  const last = pieces.length - 1;
  return pieces.flatMap((piece, i) => {
    const more = i < last ? TX_FLAG_MORE_DATA : 0;
    if (i > 0) return [data(id + i, piece, more)];
    return [data(id, size, more | (extras.length > 0 ? TX_FLAG_EXTRA_INFO : 0)), ...extras];
  });
}

describe('parseTx', () => {
  it('reads a frame of one slot', () => {
    const { frames } = parse([data(7, 60, TX_FLAG_CSUM_BLANK, 100)]);
    expect([frames.count, frames.slots, frames.refusals, frames.fault]).toEqual([1, 1, 0, undefined]);
    expect([frames.firstSlot(0), frames.slotCount(0), frames.extraCount(0)]).toEqual([0, 1, 0]);
    expect([frames.size(0), frames.flags(0), frames.gso(0)]).toEqual([60, TX_FLAG_CSUM_BLANK, 0]);
    expect(responses(frames)).toEqual([{ id: 7, status: RSP_OKAY }]);
  });

  it('takes note of a hash of a kind that netif.h has, and of no other', () => {
    const hash = (kind: number, algorithm: number): Slot => [
      (EXTRA_TYPE_HASH | (kind << 16) | (algorithm << 24)) >>> 0,
      0xfedcba98,
      0,
    ];
    const found = (kind: number, algorithm: number) => {
      const slots = [...frameOf([60], [hash(kind, algorithm)], 1), data(2, 60)];
      const { frames } = parse(slots);
      expect([frames.count, frames.refusals, frames.hashTypes[1]]).toEqual([2, 0, 0]);
      return [frames.hashTypes[0], frames.hashTypes[0] === 0 ? 0 : frames.hashValues[0]];
    };
    expect([0, 1, 2, 3].map((kind) => found(kind, 1))).toEqual(
      [1, 2, 4, 8].map((type) => [type, 0xfedcba98]),
    );
    for (const [kind, algorithm] of [
      [4, 1],
      [32, 1],
      [33, 1],
      [255, 1],
      [1, 0],
      [1, 2],
      [1, 255],
    ] as const)
      expect(found(kind, algorithm)).toEqual([0, 0]);
  });

  it('leaves the first slot with its own share, and responds to extras with NULL and no id', () => {
    const gso = extra(EXTRA_TYPE_GSO, true, 1448, GSO_TYPE_TCPV6);
    const { frames, words } = parse(frameOf([66, 4096, 838], [gso, extra(EXTRA_TYPE_HASH)], 10));
    expect([frames.size(0), frames.slotCount(0), frames.extraCount(0)]).toEqual([5000, 5, 2]);
    expect([frames.gso(0) & 0xffff, frames.gso(0) >>> 16]).toEqual([GSO_TYPE_TCPV6, 1448]);
    expect(words[2] >>> 16).toBe(66);
    expect([...frames.roles.subarray(0, 5)]).toEqual([
      ROLE_FIRST,
      ROLE_NONE,
      ROLE_NONE,
      ROLE_DATA,
      ROLE_DATA,
    ]);
    expect(responses(frames)).toEqual([
      { id: 10, status: RSP_OKAY },
      { id: 0, status: RSP_NULL },
      { id: 0, status: RSP_NULL },
      { id: 11, status: RSP_OKAY },
      { id: 12, status: RSP_OKAY },
    ]);
  });

  it('reads any run of frames as it was written, and keeps a cut one for the next batch', () => {
    const piece = fc.integer({ min: 14, max: 3640 });
    const frame = fc.record({ pieces: fc.array(piece, { minLength: 1, maxLength: 18 }), gso: fc.boolean() });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 10 }), fc.nat(30), (plan, cut) => {
        const extras = [extra(EXTRA_TYPE_GSO, false, 1400, GSO_TYPE_TCPV4)];
        const written = plan.map(({ pieces, gso }) => frameOf(pieces, gso ? extras : []));
        const all = written.flat();
        if (all.length > 256) return;
        const shown = Math.max(Math.min(all.length, written[0]?.length ?? 0), all.length - cut);
        const { frames, words } = parse(all.slice(0, shown), false);
        expect(frames.fault).toBeUndefined();
        expect(frames.refusals).toBe(0);
        let slot = 0;
        for (let i = 0; i < frames.count; i++) {
          const { pieces, gso } = plan[i]!;
          expect(frames.firstSlot(i)).toBe(slot);
          expect(frames.slotCount(i)).toBe(pieces.length + (gso ? 1 : 0));
          const lengths = written[i]!.map((_, at) => words[(slot + at) * 3 + 2]! >>> 16);
          if (gso) lengths.splice(1, 1);
          expect(lengths).toEqual(pieces);
          slot += frames.slotCount(i);
        }
        expect(frames.slots).toBe(slot);
        if (frames.count < plan.length) expect(slot + written[frames.count]!.length).toBeGreaterThan(shown);
      }),
    );
  });

  it.each([
    ['shorter than an Ethernet header', [data(1, 13)]],
    ['empty', [data(1, 0)]],
    ['of fragments that exceed it', [data(1, 100, TX_FLAG_MORE_DATA), data(2, 101)]],
    [
      'of fragments that exceed it together',
      [data(1, 100, TX_FLAG_MORE_DATA), data(2, 60, TX_FLAG_MORE_DATA), data(3, 60)],
    ],
    ['that is a command, until the backend carries it out,', frameOf([60], [extra(EXTRA_TYPE_MCAST_ADD)])],
  ])('gives a frame %s the response error, and continues', (_, slots) => {
    const { frames } = parse([...slots, data(99, 60)]);
    expect([frames.count, frames.refusals, frames.fault]).toEqual([2, 1, undefined]);
    expect([frames.refused(0), frames.refused(1)]).toEqual([true, false]);
    const written = responses(frames);
    const extras = frames.extraCount(0);
    for (const [i, response] of written.slice(0, -1).entries()) {
      expect(response.status).toBe(i > 0 && i <= extras ? RSP_NULL : RSP_ERROR);
      expect(frames.roles[i]).toBe(i === 0 ? ROLE_REFUSED : ROLE_NONE);
    }
    expect(written.at(-1)).toEqual({ id: 99, status: RSP_OKAY });
  });

  it('refuses a frame later, without its extras', () => {
    const gso = extra(EXTRA_TYPE_GSO, false, 1448, GSO_TYPE_TCPV4);
    const { frames } = parse([data(1, 60), ...frameOf([66, 100], [gso], 2), data(4, 60)]);
    frames.refuse(1);
    expect(responses(frames).map(({ status }) => status)).toEqual([
      RSP_OKAY,
      RSP_ERROR,
      RSP_NULL,
      RSP_ERROR,
      RSP_OKAY,
    ]);
    expect(responses(frames).map(({ id }) => id)).toEqual([1, 2, 0, 3, 4]);
  });

  const endless = Array(6).fill(extra(EXTRA_TYPE_HASH, true));
  it.each([
    ['slot crosses a page', [data(1, 4000, 0, 97)]],
    ['slot crosses a page', [data(1, 60, 0, 0xffff)]],
    ['slot crosses a page', [data(1, 200, TX_FLAG_MORE_DATA), data(2, 100, 0, 4000)]],
    // The first slot's own share counts, not the frame's size.
    ['slot crosses a page', [data(1, 9000, TX_FLAG_MORE_DATA), data(2, 4096, TX_FLAG_MORE_DATA), data(3, 4)]],
    ['frame has too many slots', Array(40).fill(data(1, 100, TX_FLAG_MORE_DATA))],
    ['frame is incomplete', [data(1, 100, TX_FLAG_MORE_DATA)]],
    ['frame is incomplete', [data(1, 100, TX_FLAG_EXTRA_INFO)]],
    ['frame is incomplete', [data(1, 100, TX_FLAG_EXTRA_INFO), extra(EXTRA_TYPE_HASH, true)]],
    ['extra info repeats without end', [data(1, 100, TX_FLAG_EXTRA_INFO), ...endless]],
    ['extra info of unknown type', frameOf([100], [extra(0)])],
    ['extra info of unknown type', frameOf([100], [extra(EXTRA_TYPE_XDP + 1)])],
    ['GSO segment size is zero', frameOf([100], [extra(EXTRA_TYPE_GSO, false, 0, GSO_TYPE_TCPV4)])],
    ['GSO type is unknown', frameOf([100], [extra(EXTRA_TYPE_GSO, false, 1448, 0)])],
    ['GSO type is unknown', frameOf([100], [extra(EXTRA_TYPE_GSO, false, 1448, 3)])],
  ])('stops with "%s", after the frames before', (fault, slots) => {
    const { frames } = parse([data(98, 60), data(99, 1514), ...(slots as Slot[])]);
    expect([frames.fault, frames.count, frames.slots]).toEqual([fault, 2, 2]);
    expect(responses(frames).map(({ id }) => id)).toEqual([98, 99]);
  });

  it('leaves a cut frame alone while more may come, unless it is all that there is', () => {
    const cut = data(5, 100, TX_FLAG_MORE_DATA);
    expect(parse([data(1, 60), cut], false).frames.fault).toBeUndefined();
    expect(parse([data(1, 60), cut], false).frames.slots).toBe(1);
    expect(parse([cut], false).frames.fault).toBe('frame is incomplete');
  });

  it('never throws, loops or counts slots that it was not given, whatever the guest writes', () => {
    const word = fc.nat(2 ** 32 - 1);
    const plausible = fc
      .tuple(word, fc.constantFrom(0, 4, 8, 12), fc.nat(4200), fc.nat(1500), fc.nat(6))
      .map(
        ([gref, flags, offset, size, type]): Slot => [
          (gref & ~0xff) | type,
          offset | (flags << 16),
          (gref & 0xffff) | (size << 16),
        ],
      );
    const slot = fc.oneof(plausible, fc.tuple(word, word, word));
    fc.assert(
      fc.property(fc.array(slot, { maxLength: 128 }), fc.boolean(), (slots, whole) => {
        const { frames, words } = parse(slots, whole);
        let next = 0;
        for (let i = 0; i < frames.count; i++) {
          expect(frames.firstSlot(i)).toBe(next);
          next += frames.slotCount(i);
          if (frames.refused(i)) continue;
          // What will be fetched adds up to the frame, and no piece of it crosses a page.
          let sum = 0;
          let filled = 0;
          for (let at = frames.firstSlot(i); at < next; at++) {
            if (frames.roles[at] === ROLE_NONE) continue;
            const length = words[at * 3 + 2]! >>> 16;
            expect((words[at * 3 + 1]! & 0xffff) + length).toBeLessThanOrEqual(4096);
            sum += length;
            if (length > 0) filled++;
          }
          expect(sum).toBe(frames.size(i));
          expect(filled).toBe(frames.filledCount(i));
        }
        expect(frames.slots).toBe(next);
        expect(next).toBeLessThanOrEqual(slots.length);
        if (frames.fault === undefined && whole) expect(next).toBe(slots.length);
      }),
      { numRuns: 500 },
    );
  });
});
