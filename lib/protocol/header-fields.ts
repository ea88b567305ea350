/** The sizes, places and numbers of Ethernet, IP, TCP and UDP headers that other modules use. */

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_IPV6 = 0x86dd;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const IPV4_HEADER_BYTES = 20;
export const IPV6_HEADER_BYTES = 40;
/** Headers of TCP (RFC 9293), without options, and UDP (RFC 768), and where in them their checksums stand. */
export const TCP_HEADER_BYTES = 20;
export const UDP_HEADER_BYTES = 8;
export const TCP_CHECKSUM_OFFSET = 16;
export const UDP_CHECKSUM_OFFSET = 6;

/** How many bytes from the IP header on Linux's netfront and netback search for headers (MAX_IPV6_HDR_LEN in net/core/skbuff.c). */
export const NETWORK_HEADERS_BYTES = 256;
/** Bytes of a frame that hold all its headers in nearly all cases: an Ethernet header, two VLAN tags and NETWORK_HEADERS_BYTES. A multiple of 8. */
export const HEADERS_BYTES = 280;

/** Which IPv6 extension headers a walk passes over. For hashing: at most 8 of hop-by-hop, routing and destination options. */
export const CHAIN_HASHED = 0;
/** As in Linux's skb_checksum_setup: also authentication, and the fragment header of a whole datagram (as Windows sends it). */
export const CHAIN_NETFRONT = 1;
/** All that may stand in front of TCP or UDP: also mobility, HIP and Shim6. */
export const CHAIN_LEGAL = 2;

/** The headers are not there, or of an unknown kind. */
export const UNKNOWN = 0;
