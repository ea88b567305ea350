// What the kernel's ethtool interface says of a device, and what it is asked to change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vifd {

// How many descriptors a tap with several queues is bound to (tun_get_channels); 0 where the kernel does not say.
uint32_t QueuesOf(const std::string& name);

// Has the kernel act at once on a carrier that was just switched (linkwatch_sync_dev, Linux 6.8 and later), as its bridge and its queueing
// discipline do; else that comes up to a second later.
void SettleCarrier(const std::string& name);

// TUN_F_* (linux/if_tun.h) of a tap.
struct Offloads {
  // All but what somebody has switched off by `ethtool -K` (wanted_features).
  uint32_t wanted;
  // What the kernel leaves to the tap's reader now.
  uint32_t active;
  // Without scatter-gather the kernel segments whatever else is wanted (netdev_fix_features).
  bool scatter_gather;
};

// Nothing where the kernel does not say.
std::optional<Offloads> OffloadsOf(const std::string& name);

// Switches on and off by `ethtool -K`, as an administrator would. 0 or -errno.
int WantOffloads(const std::string& name, uint32_t wanted);

// All that an administrator can switch at a device: a bit for each of this kernel's features, by their numbers. Empty where the
// kernel does not say.
std::vector<uint32_t> WantedFeatures(const std::string& name);

// Switches what can be switched as `wanted` has it. 0 or -errno.
int WantFeatures(const std::string& name, const std::vector<uint32_t>& wanted);

}  // namespace vifd
