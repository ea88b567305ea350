import type { RingShape } from './ring.js';

/**
 * The control ring of netif.h: the guest sends requests, and each gets one response. Request: { id u16, type u16, data u32 x 3 }; response: {
 * id u16, type u16, status u32, data u32 }, in slots of 16 bytes.
 */

export const CTRL_REQUEST_WORDS = 4;
export const CTRL_RESPONSE_WORDS = 3;
/** (4096 - 64) / 16, rounded down to a power of two. */
export const CTRL_RING_SIZE = 128;

export const CTRL_RING: RingShape = {
  size: CTRL_RING_SIZE,
  slotWords: CTRL_REQUEST_WORDS,
  requestWords: CTRL_REQUEST_WORDS,
  responseWords: CTRL_RESPONSE_WORDS,
};

// ---- what the guest asks for --------------------------------------------------------------------
export const CTRL_GET_HASH_FLAGS = 1;
export const CTRL_SET_HASH_FLAGS = 2;
export const CTRL_SET_HASH_KEY = 3;
export const CTRL_GET_HASH_MAPPING_SIZE = 4;
export const CTRL_SET_HASH_MAPPING_SIZE = 5;
export const CTRL_SET_HASH_MAPPING = 6;
export const CTRL_SET_HASH_ALGORITHM = 7;
export const CTRL_GET_GREF_MAPPING_SIZE = 8;
export const CTRL_ADD_GREF_MAPPING = 9;
export const CTRL_DEL_GREF_MAPPING = 10;

// ---- status of a response -----------------------------------------------------------------------
export const CTRL_SUCCESS = 0;
export const CTRL_NOT_SUPPORTED = 1;
export const CTRL_INVALID_PARAMETER = 2;
export const CTRL_BUFFER_OVERFLOW = 3;

// ---- hashing ------------------------------------------------------------------------------------
export const HASH_ALGORITHM_NONE = 0;
export const HASH_ALGORITHM_TOEPLITZ = 1;
/** What is hashed, as bits. A HASH extra names the bit's number. */
export const HASH_TYPE_IPV4 = 1;
export const HASH_TYPE_IPV4_TCP = 2;
export const HASH_TYPE_IPV6 = 4;
export const HASH_TYPE_IPV6_TCP = 8;
export const HASH_TYPES = HASH_TYPE_IPV4 | HASH_TYPE_IPV4_TCP | HASH_TYPE_IPV6 | HASH_TYPE_IPV6_TCP;

/** As Linux's netback (common.h, XEN_NETBK_MAX_HASH_MAPPING_SIZE). */
export const HASH_MAPPING_MAX = 128;
/** Entries of a mapping are u32 in the guest's page. */
export const HASH_MAPPING_ENTRY_BYTES = 4;

// ---- grants that stay mapped: { ref u32, flags u16, status u16 } ---------------------------------
export const GREF_ENTRY_BYTES = 8;
/** The backend shall only read the page. */
export const GREF_READONLY = 1;

/** Writes one response. Every byte of it is written (XSA-216). */
export function respondControl(
  request: Uint32Array,
  status: number,
  data: number,
  response: Uint32Array,
): void {
  // Id and type are those of the request.
  response[0] = request[0];
  response[1] = status;
  response[2] = data;
}
