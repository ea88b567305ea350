import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import type { Pieces } from '../cuts.js';
import type { Variant } from '../forms/variants.js';
import { mark } from '../marks.js';
import type { Random } from '../random.js';

/** Values of xen/io/netif.h, as the guest writes them. */
const CSUM_BLANK = 1;
const DATA_VALIDATED = 2;
const MORE_DATA = 4;
const EXTRA_INFO = 8;
const EXTRA_TYPE_GSO = 1;
const PAGE_BYTES = 4096;

/** A variant as one guest sends it once. */
export interface Sending {
  readonly variant: Variant;
  readonly pieces: Pieces;
  readonly mark: number;
}

export function slotsOf({ variant, pieces }: Sending): number {
  return pieces.length + (variant.segment > 0 ? 1 : 0);
}

/** Writes the frame into the guest's pages from `page` on, one page for each slot. @returns what goes into the ring. */
export function layOut(guest: RawGuest, sending: Sending, page: number, random: Random): TxSlot[] {
  const { variant, pieces, mark: number } = sending;
  const { frame, form, segment, blank } = variant;
  const bytes = frame.slice();
  mark(bytes, number);
  const slots: TxSlot[] = [];
  let at = 0;
  pieces.forEach((size, index) => {
    const offset = random.below(PAGE_BYTES - size + 1);
    guest.pages.bytes.set(bytes.subarray(at, at + size), (page + index) * PAGE_BYTES + offset);
    const more = index + 1 < pieces.length ? MORE_DATA : 0;
    const first = index === 0 ? firstFlags(form.protocol.open, blank, segment, frame.length) : 0;
    slots.push({ page: page + index, offset, size: index === 0 ? frame.length : size, flags: first | more });
    at += size;
  });
  const type = form.protocol.gso === 4 ? 1 : 2;
  if (segment > 0) slots.splice(1, 0, { words: [(EXTRA_TYPE_GSO | (segment << 16)) >>> 0, type, 0] });
  return slots;
}

function firstFlags(open: boolean, blank: boolean, segment: number, length: number): number {
  const offload = blank && open ? CSUM_BLANK | DATA_VALIDATED : length % 2 === 0 ? 0 : DATA_VALIDATED;
  return offload | (segment > 0 ? EXTRA_INFO : 0);
}
