import type { Random } from './random.js';

/** Where a frame is cut into slots. */
export type CutKind = 'whole' | 'one cut' | 'two cuts' | 'many cuts';
export const CUT_KINDS: readonly CutKind[] = ['whole', 'one cut', 'two cuts', 'many cuts'];

/** The most bytes of a slot: a page. */
const SLOT_BYTES_MAX = 4096;
/** The most slots that a Linux guest uses (XEN_NETIF_NR_SLOTS_MIN). */
const SLOTS_MAX = 18;

/** Bytes of each slot. */
export type Pieces = readonly number[];

/** @param cuts offsets in the frame where slots end; a piece of more than a page takes several slots. */
export function piecesOf(bytes: number, cuts: readonly number[]): number[] {
  const inside = cuts.filter((cut) => cut > 0 && cut < bytes);
  const ends = [...new Set([...inside, bytes])].sort((a, b) => a - b);
  const pieces: number[] = [];
  let at = 0;
  for (const end of ends) {
    for (; end - at > SLOT_BYTES_MAX; at += SLOT_BYTES_MAX) pieces.push(SLOT_BYTES_MAX);
    pieces.push(end - at);
    at = end;
  }
  return pieces;
}

/** Every single cut of the headers, and the first bytes behind them. */
export function singleCuts(bytes: number, headerBytes: number): number[] {
  const last = Math.min(bytes - 1, headerBytes + 2);
  return Array.from({ length: Math.max(0, last) }, (_, index) => index + 1);
}

/** Two cuts: the first in the headers, and mostly the second too. */
export function pairOfCuts(bytes: number, headerBytes: number, random: Random): number[] {
  const end = Math.min(bytes, headerBytes + 3);
  return [
    1 + random.below(Math.max(1, end - 1)),
    1 + random.below(Math.max(1, random.below(4) === 0 ? bytes - 1 : end - 1)),
  ];
}

/** As many cuts as the remaining slots permit, most of them in the headers. */
export function manyCuts(bytes: number, headerBytes: number, random: Random): number[] {
  const spare = SLOTS_MAX - piecesOf(bytes, []).length;
  const end = Math.min(bytes, headerBytes + 3);
  const count = Math.min(random.between(3, 17), spare);
  // Each cut costs one slot.
  return Array.from({ length: Math.max(0, count) }, () => 1 + random.below(Math.max(1, end - 1)));
}

/** Whether a guest may send these slots. */
export function fits(pieces: Pieces): boolean {
  return pieces.length <= SLOTS_MAX;
}
