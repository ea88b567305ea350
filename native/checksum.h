// Completing a partial checksum (virtio_net_hdr VIRTIO_NET_HDR_F_NEEDS_CSUM) for a guest that cannot.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vifd {

// tun's TUN_F_CSUM is for IPv4 and IPv6 together; a guest may take one and not the other.
struct Completes {
  bool v4;
  bool v6;
};

// `frame` has its vnet header in front. Clears the header's flag when it completes.
void CompleteIfNeeded(uint8_t* frame, size_t length, Completes completes);

}  // namespace vifd
