import * as netif from './netif.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { EXTRA_TYPE_GSO, RING_PAGE_BYTES, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA, RX_SLOT_WORDS } = netif;

/** @returns pages of data that a frame of `bytes` takes. */
export function rxPagesNeeded(bytes: number): number {
  // Rounding down by >>> makes it a shift.
  return bytes === 0 ? 1 : ((bytes + RING_PAGE_BYTES - 1) / RING_PAGE_BYTES) >>> 0;
}

/** @returns slots that a frame of `bytes` takes, its GSO extra included. `gso` as for `answerRx`. */
export function rxSlotsNeeded(bytes: number, gso: number): number {
  return gso === 0 ? rxPagesNeeded(bytes) : rxPagesNeeded(bytes) + 1;
}

/** @returns the slot that holds the next page of data after that in `slot`: a GSO extra takes a frame's second. */
export function rxSlotAfter(slot: number, first: number, gso: number): number {
  return gso !== 0 && slot === first ? slot + 2 : slot + 1;
}

/**
 * Writes the responses of one frame: data slots from offset 0 of their pages, the GSO extra in the second
 * slot. Responses stand in the slots of the requests that they consume (netif.h), and every byte of them
 * is written (XSA-216).
 * @param requests the batch's requests, RX_SLOT_WORDS words each; `first` is the frame's first slot in it.
 * @param flags RX_FLAG_* for the first response, besides more_data and extra_info.
 * @param gso GSO_TYPE_* | segment size << 16; 0 for none.
 * @param responses same layout as `requests`.
 */
export function answerRx(
  requests: Uint32Array,
  first: number,
  bytes: number,
  flags: number,
  gso: number,
  responses: Uint32Array,
): void {
  let slot = first;
  let left = bytes;
  let slotFlags = gso === 0 ? flags : flags | RX_FLAG_EXTRA_INFO;
  while (left > RING_PAGE_BYTES) {
    writeResponse(requests, slot, slotFlags | RX_FLAG_MORE_DATA, RING_PAGE_BYTES, responses);
    slot = rxSlotAfter(slot, first, gso);
    left -= RING_PAGE_BYTES;
    slotFlags = 0;
  }
  writeResponse(requests, slot, slotFlags, left, responses);
  if (gso === 0) return;
  const extra = (first + 1) * RX_SLOT_WORDS;
  responses[extra] = EXTRA_TYPE_GSO | (gso & 0xffff0000);
  responses[extra + 1] = gso & 0xffff;
}

/** A response that tells of no data: `status` is RSP_ERROR or RSP_DROPPED. */
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
