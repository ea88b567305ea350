// What the kernel's ethtool interface says of a device.
#pragma once

#include <cstdint>
#include <string>

namespace vifd {

// How many descriptors a tap with several queues is bound to (tun_get_channels); 0 where the kernel does not say.
uint32_t QueuesOf(const std::string& name);

// TUN_F_* (linux/if_tun.h) that nobody has switched off by `ethtool -K`; all of them where the kernel does not say.
uint32_t WantedOffloads(const std::string& name);

}  // namespace vifd
