import { HASH_ALGORITHM_TOEPLITZ } from './control.js';
import * as netif from './netif.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { EXTRA_TYPE_GSO, EXTRA_TYPE_HASH, EXTRA_TYPE_XDP } = netif;
const [TOEPLITZ, MORE] = [HASH_ALGORITHM_TOEPLITZ, netif.EXTRA_FLAG_MORE << 8];
const { RING_PAGE_BYTES, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA, RX_SLOT_WORDS } = netif;

/** @returns pages of data that a frame of `bytes` takes. `headroom` as for `respondRx`. */
export function rxPagesNeeded(bytes: number, headroom = 0): number {
  if (bytes === 0) return 1;
  // Rounding down by >>> makes the usual case a shift; of a number that is not known beforehand it is a division.
  if (headroom === 0) return ((bytes + RING_PAGE_BYTES - 1) / RING_PAGE_BYTES) >>> 0;
  return Math.ceil(bytes / (RING_PAGE_BYTES - headroom));
}

/** @returns slots that a frame of `bytes` takes, its extras included. `gso`, `headroom` and `hashType` as for `respondRx`. */
export function rxSlotsNeeded(bytes: number, gso: number, headroom = 0, hashType = 0): number {
  return rxPagesNeeded(bytes, headroom) + extrasOf(gso, headroom, hashType);
}

/** @returns the slot that holds the next page of data after that in `slot`: extras come right after a frame's first. */
export function rxSlotAfter(slot: number, first: number, gso: number, headroom = 0, hashType = 0): number {
  return slot === first ? slot + 1 + extrasOf(gso, headroom, hashType) : slot + 1;
}

function extrasOf(gso: number, headroom: number, hashType: number): number {
  return (gso === 0 ? 0 : 1) + (headroom === 0 ? 0 : 1) + (hashType === 0 ? 0 : 1);
}

/**
 * Writes the responses of one frame: data slots, and after the first its extras. Responses stand in the slots of the
 * requests that they consume (netif.h), and every byte of them is written (XSA-216).
 * @param requests the batch's requests, RX_SLOT_WORDS words each; `first` is the frame's first slot in it.
 * @param flags RX_FLAG_* for the first response, besides more_data and extra_info.
 * @param gso GSO_TYPE_* | segment size << 16; 0 for none.
 * @param responses same layout as `requests`.
 * @param headroom bytes that are left free at the beginning of each page, below its length; they count in `status`, and
 *   an extra of each frame has their number (Linux's netif.h, XDP).
 * @param hashType HASH_TYPE_* of `hashValue`, a u32, which an extra passes to the guest; 0 for none.
 */
export function respondRx(
  requests: Uint32Array,
  first: number,
  bytes: number,
  flags: number,
  gso: number,
  responses: Uint32Array,
  headroom = 0,
  hashType = 0,
  hashValue = 0,
): void {
  const room = RING_PAGE_BYTES - headroom;
  const extras = extrasOf(gso, headroom, hashType);
  let slot = first;
  let left = bytes;
  let slotFlags = extras === 0 ? flags : flags | RX_FLAG_EXTRA_INFO;
  while (left > room) {
    writeResponse(requests, slot, slotFlags | RX_FLAG_MORE_DATA, RING_PAGE_BYTES, responses);
    slot = slot === first ? slot + 1 + extras : slot + 1;
    left -= room;
    slotFlags = 0;
  }
  writeResponse(requests, slot, slotFlags, headroom + left, responses);
  if (extras !== 0) writeExtras(first + 1, gso, headroom, hashType, hashValue, responses);
}

/** In the order of their types, as Linux has them. */
function writeExtras(
  slot: number,
  gso: number,
  headroom: number,
  hashType: number,
  hashValue: number,
  responses: Uint32Array,
): void {
  let at = slot * RX_SLOT_WORDS;
  if (gso !== 0) {
    const more = headroom === 0 && hashType === 0 ? 0 : MORE;
    responses[at] = EXTRA_TYPE_GSO | more | (gso & 0xffff0000);
    responses[at + 1] = gso & 0xffff;
    at += RX_SLOT_WORDS;
  }
  if (hashType !== 0) {
    const more = headroom === 0 ? 0 : MORE;
    // The wire has the number of the type's bit.
    responses[at] = EXTRA_TYPE_HASH | more | ((31 - Math.clz32(hashType)) << 16) | (TOEPLITZ << 24);
    responses[at + 1] = hashValue;
    at += RX_SLOT_WORDS;
  }
  if (headroom !== 0) {
    responses[at] = EXTRA_TYPE_XDP | (headroom << 16);
    responses[at + 1] = 0;
  }
}

/** Writes a response without data: `status` is RSP_ERROR or RSP_DROPPED. */
export function refuseRx(requests: Uint32Array, slot: number, status: number, responses: Uint32Array): void {
  writeResponse(requests, slot, 0, status, responses);
}

function writeResponse(
  requests: Uint32Array,
  slot: number,
  flags: number,
  status: number,
  responses: Uint32Array,
): void {
  const at = slot * RX_SLOT_WORDS;
  responses[at] = requests[at] & 0xffff;
  responses[at + 1] = flags | (status << 16);
}
