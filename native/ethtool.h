// Reads and changes settings of a device by the kernel's ethtool interface.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vifd {

// Returns how many descriptors a tap with several queues is bound to (tun_get_channels); 0 if the kernel does not report it.
uint32_t QueuesOf(const std::string& name);

// Has the kernel pass a carrier that was just switched on to the bridge and the queueing discipline at once (linkwatch_sync_dev, Linux 6.8
// and later). Without this call, and on older kernels, they follow up to a second later.
void SettleCarrier(const std::string& name);

// TUN_F_* (linux/if_tun.h) of a tap.
struct Offloads {
  // All but those that `ethtool -K` has switched off (wanted_features).
  uint32_t wanted;
  // Those that the kernel now leaves to the tap's reader.
  uint32_t active;
  // Whether scatter-gather is on. Without it the kernel segments, whatever else is wanted (netdev_fix_features).
  bool scatter_gather;
};

// Returns nothing if the kernel does not report them.
std::optional<Offloads> OffloadsOf(const std::string& name);

// Switches the offloads `wanted` on and all others off, as `ethtool -K` does. 0 or -errno.
int WantOffloads(const std::string& name, uint32_t wanted);

// The features that `ethtool -K` has switched on at a device, a bit for each of this kernel's by its number. Empty where the kernel does
// not report them.
std::vector<uint32_t> WantedFeatures(const std::string& name);

// Switches those features that can be switched on or off as `wanted` has them. 0 or -errno.
int WantFeatures(const std::string& name, const std::vector<uint32_t>& wanted);

}  // namespace vifd
