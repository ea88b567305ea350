import * as netif from './netif.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { EXTRA_TYPE_GSO, RING_PAGE_BYTES, RX_FLAG_EXTRA_INFO, RX_FLAG_MORE_DATA, RX_SLOT_WORDS } = netif;

/** @returns slots that a frame of `bytes` takes, its GSO extra included. */
export function rxSlotsNeeded(bytes: number, gsoType: number): number {
  const data = Math.max(1, Math.ceil(bytes / RING_PAGE_BYTES));
  return gsoType === 0 ? data : data + 1;
}

/** @returns the slot, counted from the frame's first, that holds its `chunk`th page of data: a GSO extra takes the second. */
export function rxSlotOfChunk(chunk: number, gsoType: number): number {
  return chunk > 0 && gsoType !== 0 ? chunk + 1 : chunk;
}

/**
 * Writes the responses of one frame: data slots from offset 0 of their pages, the GSO extra in the second
 * slot. Responses stand in the slots of the requests that they consume (netif.h), and every byte of them
 * is written (XSA-216).
 * @param requests the batch's requests, RX_SLOT_WORDS words each; `first` is the frame's first slot in it.
 * @param responses same layout.
 * @param flags RX_FLAG_* for the first response, besides more_data and extra_info.
 * @returns the slots written.
 */
export function answerRx(
  requests: Uint32Array,
  first: number,
  bytes: number,
  flags: number,
  gsoType: number,
  gsoSize: number,
  responses: Uint32Array,
): number {
  const chunks = Math.max(1, Math.ceil(bytes / RING_PAGE_BYTES));
  for (let chunk = 0; chunk < chunks; chunk++) {
    const slot = first + rxSlotOfChunk(chunk, gsoType);
    const length = Math.min(RING_PAGE_BYTES, bytes - chunk * RING_PAGE_BYTES);
    let slotFlags = chunk === 0 ? flags : 0;
    if (chunk < chunks - 1) slotFlags |= RX_FLAG_MORE_DATA;
    if (chunk === 0 && gsoType !== 0) slotFlags |= RX_FLAG_EXTRA_INFO;
    writeResponse(requests, slot, slotFlags, length, responses);
  }
  if (gsoType === 0) return chunks;
  const extra = (first + 1) * RX_SLOT_WORDS;
  responses[extra] = EXTRA_TYPE_GSO | (gsoSize << 16);
  responses[extra + 1] = gsoType;
  return chunks + 1;
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
