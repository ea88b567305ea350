/**
 * The wire layout of the netif protocol, little-endian, as xen/io/netif.h and xen/io/ring.h lay it out
 * on x86 (sizes checked against libxen-dev's headers in test/protocol/oracle.test.ts). Ring names keep the
 * header's meaning here and nowhere else: TX is what the frontend sends.
 */

// ---- rings (ring.h: the page begins with 64 bytes of header, then the slots) ------------------
export const RING_PAGE_BYTES = 4096;
/** Words (u32) of the shared header. */
export const RING_REQ_PROD = 0;
export const RING_REQ_EVENT = 1;
export const RING_RSP_PROD = 2;
export const RING_RSP_EVENT = 3;
export const RING_HEADER_WORDS = 16;

/** (4096 - 64) / 12, rounded down to a power of two. */
export const TX_RING_SIZE = 256;
export const TX_SLOT_WORDS = 3;
/** (4096 - 64) / 8, rounded down to a power of two. */
export const RX_RING_SIZE = 256;
export const RX_SLOT_WORDS = 2;

// ---- TX request: { gref u32, offset u16, flags u16, id u16, size u16 }; response: { id u16, status s16 } ----
export const TX_FLAG_CSUM_BLANK = 1;
export const TX_FLAG_DATA_VALIDATED = 2;
export const TX_FLAG_MORE_DATA = 4;
export const TX_FLAG_EXTRA_INFO = 8;

// ---- RX request: { id u16, pad u16, gref u32 }; response: { id u16, offset u16, flags u16, status s16 } ----
/** The first two flags have each other's value in TX. */
export const RX_FLAG_DATA_VALIDATED = 1;
export const RX_FLAG_CSUM_BLANK = 2;
export const RX_FLAG_MORE_DATA = 4;
export const RX_FLAG_EXTRA_INFO = 8;

// ---- status of a response -----------------------------------------------------------------------
export const RSP_DROPPED = -2;
export const RSP_ERROR = -1;
export const RSP_OKAY = 0;
/** TX: the slot was an extra-info segment. */
export const RSP_NULL = 1;

// ---- extra info: { type u8, flags u8, six bytes by type } ---------------------------------------
export const EXTRA_TYPE_GSO = 1;
export const EXTRA_TYPE_MCAST_ADD = 2;
export const EXTRA_TYPE_MCAST_DEL = 3;
export const EXTRA_TYPE_HASH = 4;
/** In Linux's copy of netif.h only. */
export const EXTRA_TYPE_XDP = 5;
export const EXTRA_FLAG_MORE = 1;
/** GSO: { size u16, type u8, pad u8, features u16 }. */
export const GSO_TYPE_NONE = 0;
export const GSO_TYPE_TCPV4 = 1;
export const GSO_TYPE_TCPV6 = 2;

// ---- limits that Linux's netback has and frontends rely on --------------------------------------
/** Slots of data that every backend must accept for a frame (netif.h, XEN_NETIF_NR_SLOTS_MIN): a frontend uses no more. */
export const FRAME_SLOTS_MAX = 18;
/**
 * Slots of data, the first included, of the longest frame that Linux's netback sends. It counts the slots after the first
 * (netback.c, xenvif_count_requests): it sends a frame with 18 of them (XEN_NETBK_LEGACY_SLOTS_MAX), and responds to 19 and 20 with an
 * error.
 */
export const FRAME_SLOTS_SENT_MAX = 19;
/** Slots of data, the first included, from which on Linux's netback stops the vif: 21 after the first (netback.c, fatal_skb_slots). */
export const FRAME_SLOTS_FATAL = 22;
/** The length of an Ethernet header: the response to a shorter frame is an error. */
export const FRAME_BYTES_MIN = 14;
