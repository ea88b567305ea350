/**
 * How many slots a frame may have and what they may contain, compared with Linux's netback (netback.c of Linux 6.16: xenvif_get_extras,
 * xenvif_count_requests, xenvif_tx_build_gops).
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  EXTRA_TYPE_GSO,
  EXTRA_TYPE_HASH,
  FRAME_BYTES_MIN,
  GSO_TYPE_TCPV4,
  RSP_ERROR,
  RSP_NULL,
  RSP_OKAY,
  TX_FLAG_EXTRA_INFO,
  TX_FLAG_MORE_DATA,
} from '../../lib/protocol/netif.js';
import { parseTx, ROLE_DATA, ROLE_FIRST, ROLE_NONE, TxFrames } from '../../lib/protocol/tx.js';

/** A slot of data. */
interface Piece {
  readonly size: number;
  readonly offset?: number;
}

interface Frame {
  /** The total size in the first slot. */
  readonly size: number;
  /** The first slot's size is the frame's: only its offset counts. */
  readonly pieces: readonly Piece[];
  /** GSO type | segment size << 16 of a GSO extra; absent: none. */
  readonly gso?: number;
}

type Verdict = 'sent' | 'error' | 'fatal';

const GOOD_GSO = GSO_TYPE_TCPV4 | (1448 << 16);

/** @returns a frame whose first slot holds the bytes that the others do not. */
function frame(sizes: readonly number[], gso?: number): Frame {
  const size = sizes.reduce((sum, one) => sum + one, 0);
  return { size, pieces: sizes.map((one) => ({ size: one })), ...(gso === undefined ? {} : { gso }) };
}

function slotsOf({ size, pieces, gso }: Frame): number[][] {
  const last = pieces.length - 1;
  const extras = gso === undefined ? [] : [[EXTRA_TYPE_GSO | ((gso >>> 16) << 16), gso & 0xffff, 0]];
  return pieces.flatMap((piece, i) => {
    const more = i < last ? TX_FLAG_MORE_DATA : 0;
    const flags = more | (i === 0 && gso !== undefined ? TX_FLAG_EXTRA_INFO : 0);
    const length = i === 0 ? size : piece.size;
    const slot = [i + 8, ((piece.offset ?? 0) | (flags << 16)) >>> 0, (i | (length << 16)) >>> 0];
    return i === 0 ? [slot, ...extras] : [slot];
  });
}

function parse(
  slots: readonly (readonly number[])[],
  whole = true,
): { frames: TxFrames; words: Uint32Array } {
  const words = Uint32Array.from(slots.flat());
  const frames = new TxFrames(256);
  parseTx(words, slots.length, whole, frames);
  return { frames, words };
}

function verdictOf(frames: TxFrames): Verdict {
  if (frames.fault !== undefined) return 'fatal';
  return frames.refused(0) ? 'error' : 'sent';
}

/** @returns Linux's verdict, found step by step in Linux's order. */
function linux({ size, pieces, gso }: Frame): Verdict {
  const rest = pieces.slice(1);
  let isDropped = false;
  let left = size;
  for (const [slots, piece] of rest.entries()) {
    if (slots >= 20) return 'fatal';
    if (slots >= 18) isDropped = true;
    if (!isDropped && piece.size > left) isDropped = true;
    left -= piece.size;
    if ((piece.offset ?? 0) + piece.size > 4096) return 'fatal';
  }
  if (isDropped || left < FRAME_BYTES_MIN) return 'error';
  if ((pieces[0]!.offset ?? 0) + left > 4096) return 'fatal';
  if (gso !== undefined && (gso >>> 16 === 0 || (gso & 0xff) === 0 || (gso & 0xff) > 2)) return 'fatal';
  return 'sent';
}

describe('slots of a frame', () => {
  it.each([
    [1, 'sent'],
    [17, 'sent'],
    [18, 'sent'],
    [19, 'sent'],
    [20, 'error'],
    [21, 'error'],
    [22, 'fatal'],
    [23, 'fatal'],
    [200, 'fatal'],
  ] as const)('%i of them are as for Linux: %s', (count, verdict) => {
    for (const gso of [undefined, GOOD_GSO]) {
      const one = frame(Array(count).fill(100), gso);
      expect(linux(one)).toBe(verdict);
      const { frames } = parse([...slotsOf(one), ...slotsOf(frame([60]))]);
      expect(verdictOf(frames)).toBe(verdict);
      if (verdict === 'fatal') {
        expect([frames.count, frames.slots]).toEqual([0, 0]);
        continue;
      }
      // Extras do not count, and their response is NULL whatever happens to the frame.
      const status = verdict === 'sent' ? RSP_OKAY : RSP_ERROR;
      const statuses = Array.from(frames.responses.subarray(0, frames.slots), (word) => word >> 16);
      const extras = gso === undefined ? [] : [RSP_NULL];
      expect(statuses).toEqual([status, ...extras, ...Array(count - 1).fill(status), RSP_OKAY]);
      expect([frames.count, frames.refused(1)]).toEqual([2, false]);
    }
  });

  it('are too many once the 21st has the flag for more, published or not', () => {
    const many = slotsOf(frame(Array(22).fill(100)));
    expect(parse(many.slice(0, 21), false).frames.fault).toBe('frame has too many slots');
    expect(parse(many.slice(0, 21), true).frames.fault).toBe('frame has too many slots');
    const first = slotsOf(frame([60]));
    // One fewer, and the frame may yet be one of 21.
    expect(parse([...first, ...many.slice(0, 20)], false).frames.fault).toBeUndefined();
    expect(parse([...first, ...many.slice(0, 20)], true).frames.fault).toBe('frame is incomplete');
  });

  it('of 19 that the batch cuts are read with the next batch', () => {
    const cut = slotsOf(frame(Array(19).fill(100), GOOD_GSO));
    const first = slotsOf(frame([60]));
    for (let shown = 1; shown < cut.length; shown++) {
      const { frames } = parse([...first, ...cut.slice(0, shown)], false);
      expect([frames.count, frames.slots, frames.refusals, frames.fault]).toEqual([1, 1, 0, undefined]);
    }
    const { frames } = parse([...cut, ...first], false);
    expect([frames.count, frames.slots, frames.filledCount(0)]).toEqual([2, 21, 19]);
  });

  it('that are empty have nothing to fetch, and get the response okay', () => {
    const { frames, words } = parse([...slotsOf(frame([60, 0, 0, 40])), ...slotsOf(frame([0, 60, 0]))]);
    expect([frames.count, frames.refusals]).toEqual([2, 0]);
    expect([...frames.roles.subarray(0, 7)]).toEqual([
      ...[ROLE_FIRST, ROLE_NONE, ROLE_NONE, ROLE_DATA],
      ...[ROLE_FIRST, ROLE_DATA, ROLE_NONE],
    ]);
    expect([words[2]! >>> 16, words[4 * 3 + 2]! >>> 16]).toEqual([60, 0]);
    expect([frames.filledCount(0), frames.filledCount(1)]).toEqual([2, 1]);
    expect(Array.from(frames.responses.subarray(0, 7), (word) => word >> 16)).toEqual(
      Array(7).fill(RSP_OKAY),
    );
  });

  it('count even when they are empty', () => {
    const sizes = (count: number) => [60, ...Array(count - 1).fill(0)];
    expect([19, 20, 21, 22].map((count) => verdictOf(parse(slotsOf(frame(sizes(count)))).frames))).toEqual([
      ...['sent', 'error', 'error', 'fatal'],
    ]);
  });

  it('that do not fit the frame cost it, whatever its first slot and its GSO extra contain', () => {
    for (const one of [
      // 64 KiB and more: the size on the wire has overflowed.
      { size: 100, pieces: [{ size: 0 }, { size: 101 }] },
      { size: 100, pieces: [{ size: 0, offset: 5000 }, { size: 60 }, { size: 60 }] },
      { size: 13, pieces: [{ size: 13, offset: 4090 }] },
      { size: 2000, pieces: Array(20).fill({ size: 100 }), gso: 0 },
      { size: 2000, pieces: Array(21).fill({ size: 100 }), gso: 3 | (1448 << 16) },
    ]) {
      expect(linux(one)).toBe('error');
      expect(verdictOf(parse(slotsOf(one)).frames)).toBe('error');
    }
  });

  it('have the verdict that Linux has, but that a first slot may hold less than an Ethernet header', () => {
    const piece = fc.record({
      size: fc.oneof(fc.constant(0), fc.nat(300), fc.nat(4200), fc.constant(4096)),
      offset: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.nat(4200), fc.constant(4096)),
    });
    const wild = fc.record(
      {
        size: fc.nat(65535),
        pieces: fc.array(piece, { minLength: 1, maxLength: 24, size: 'max' }),
        gso: fc.constantFrom(GOOD_GSO, 0, 1, 3 | (9 << 16), 1448 << 16),
      },
      { requiredKeys: ['size', 'pieces'] },
    );
    // Most frames add up.
    const plausible = fc.tuple(wild, fc.nat(60), fc.nat(19)).map(([one, share, few]) => {
      const pieces = one.pieces.slice(0, few + 1);
      const rest = pieces.slice(1).reduce((sum, { size }) => sum + size, 0);
      return { ...one, pieces, size: Math.min(rest + share, 65535) };
    });
    const seen = { sent: 0, error: 0, fatal: 0, short: 0 };
    fc.assert(
      fc.property(fc.oneof(wild, plausible), (one) => {
        const rest = one.pieces.slice(1).reduce((sum, { size }) => sum + size, 0);
        const share = one.size - rest;
        const { frames } = parse(slotsOf(one));
        const expected = linux(one);
        const isShort = share >= 0 && share < FRAME_BYTES_MIN && one.size >= FRAME_BYTES_MIN;
        if (expected === 'error' && isShort && verdictOf(frames) === 'sent') {
          seen.short++;
          expect(one.pieces.length).toBeLessThanOrEqual(19);
          return;
        }
        seen[expected]++;
        // Linux looks at the GSO extra of a frame with a short first slot before it responds.
        if (expected === 'error' && isShort && frames.fault?.startsWith('GSO')) return;
        expect(verdictOf(frames)).toBe(expected);
      }),
      { numRuns: 5000, seed: 20261127 },
    );
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(50);
  });

  it('that end before the frame does are an error of the guest, in its extras too', () => {
    const gso = slotsOf(frame([60, 40], GOOD_GSO));
    for (let shown = 1; shown < gso.length; shown++)
      expect(parse(gso.slice(0, shown)).frames.fault).toBe('frame is incomplete');
    const hash = [EXTRA_TYPE_HASH | (1 << 8), 0, 0];
    expect(parse([gso[0]!, hash, hash]).frames.fault).toBe('frame is incomplete');
  });
});
