/** `struct virtio_net_hdr_v1` (linux/virtio_net.h): flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. */
export const VNET_HEADER_BYTES = 12;
export const VNET_FLAG_NEEDS_CSUM = 1;
export const VNET_FLAG_DATA_VALID = 2;
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;
/**
 * UDP in datagrams of gso_size bytes of payload. netif has no such kind, and vifd's own ports do not offer it; the backend segments such
 * frames of a port of your own.
 */
export const VNET_GSO_UDP_L4 = 5;
/** Added to one of TCP's: the first segment has CWR (RFC 3168), and no other may have it. */
export const VNET_GSO_ECN = 0x80;
