import { CUT_KINDS, type CutKind, fits, manyCuts, pairOfCuts, piecesOf, singleCuts } from './cuts.js';
import { type Form, FROM_GUEST, TO_GUEST } from './forms/forms.js';
import type { Size, Variant } from './forms/variants.js';
import { FROM_GUEST_MODES, type FromGuestMode } from './guest/from-guest.js';
import { GUESTS, type GuestKind } from './guest/guests.js';
import { TO_GUEST_PORTS, type ToGuestPort } from './guest/to-guest.js';
import { Random, seedOf } from './random.js';
import type { Cell, Tally } from './report/tally.js';

/** How much of the table is tried. */
export interface Extent {
  readonly quick: boolean;
  readonly seed: number;
}

/** How many pairs of cuts, and how many frames of many slots, are tried of each small variant. */
const PAIRS = 3;
const MANY = 2;
/** How many single cuts the short form tries. */
const QUICK_CUTS = 3;

/** @returns the sizes in which a form is drawn. Small ones have all kinds of cuts tried. */
export function sizesOf(form: Form, { quick }: Extent): Size[] {
  const { protocol, tags, headers } = form;
  if (protocol.broken !== undefined) return ['small'];
  const isLarge = tags.layers.length === 0 && (!quick || (protocol.gso !== 0 && headers.layers.length === 1));
  return ['small', ...(quick ? [] : (['middle'] as const)), ...(isLarge ? (['large'] as const) : [])];
}

export function fromGuestCell({ headers, tags, protocol }: Form, mode: FromGuestMode, cut: CutKind): Cell {
  return {
    direction: FROM_GUEST,
    headers: headers.name,
    tags: tags.name,
    protocol: protocol.name,
    how: mode,
    through: cut,
  };
}

export function toGuestCell({ headers, tags, protocol }: Form, guest: GuestKind, port: ToGuestPort): Cell {
  return {
    direction: TO_GUEST,
    headers: headers.name,
    tags: tags.name,
    protocol: protocol.name,
    how: guest.name,
    through: port,
  };
}

/** @returns the ports to try with a guest. The short form tries taps only with the first and the last guest: each is a device of its own. */
export function portsFor(guest: GuestKind, { quick }: Extent): ToGuestPort[] {
  const hasTap = !quick || guest === GUESTS[0] || guest === GUESTS.at(-1);
  return TO_GUEST_PORTS.filter((port) => port !== 'tap' || hasTap);
}

/** Adds every cell that a run of this extent must fill. */
export function expectCells(tally: Tally, forms: readonly Form[], extent: Extent): void {
  for (const form of forms) {
    for (const mode of FROM_GUEST_MODES)
      for (const cut of CUT_KINDS) tally.expect(fromGuestCell(form, mode, cut));
    if (form.protocol.fromGuestOnly) continue;
    for (const guest of GUESTS)
      for (const port of portsFor(guest, extent)) tally.expect(toGuestCell(form, guest, port));
  }
}

export interface CutFrame {
  readonly kind: CutKind;
  readonly pieces: readonly number[];
}

/** @returns the ways in which a variant is cut over slots. */
export function cutsOf(variant: Variant, size: Size, mode: FromGuestMode, extent: Extent): CutFrame[] {
  const { frame, headerBytes } = variant;
  const random = new Random(seedOf(variant.seed, mode));
  const made: CutFrame[] = [{ kind: 'whole', pieces: piecesOf(frame.length, []) }];
  const add = (kind: CutKind, cuts: readonly number[]) =>
    made.push({ kind, pieces: piecesOf(frame.length, cuts) });
  if (size === 'small') {
    const single = singleCuts(frame.length, headerBytes);
    const chosen = extent.quick ? Array.from({ length: QUICK_CUTS }, () => random.of(single)) : single;
    for (const cut of chosen) add('one cut', [cut]);
  }
  const [pairs, many] = size === 'small' && !extent.quick ? [PAIRS, MANY] : [1, 1];
  for (let i = 0; i < pairs; i++) add('two cuts', pairOfCuts(frame.length, headerBytes, random));
  for (let i = 0; i < many; i++) add('many cuts', manyCuts(frame.length, headerBytes, random));
  return made.filter(({ pieces }) => fits(pieces));
}

/** Tells whether this variant can go to a guest at all: without scatter-gather a frame has at most a page. */
export function isFor(variant: Variant, guest: GuestKind): boolean {
  const longest = Math.max(...variant.expected.map(({ length }) => length));
  return guest.takes.scatterGather || longest <= PAGE_BYTES;
}

const PAGE_BYTES = 4096;
