// A tap device: makes it and sets it up. tap_io moves its frames.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tap_limit.h"

namespace vifd {

// The descriptor of /dev/net/tun that is bound to one device, or to one queue of it.
struct TapDevice {
  int fd = -1;
  // The name at the last Refresh().
  std::string name;
  bool multi_queue = false;
  // One for all queues of the device; null once closed.
  std::shared_ptr<TapLimit> limit;
  ~TapDevice();
  // Reads the name again. Returns 0 or -errno: -EBADFD once the device is deleted.
  int Refresh();
  // Whether the device is in this process's network namespace. Linux before 5.2 cannot report it: then true.
  bool IsHere() const;
  // Has the kernel leave to the reader those offloads that the reader takes (TUN_F_*), without those that `ethtool -K` has switched off.
  // `resumed`: an earlier process served the same reader. Returns 0 or -errno.
  int SetOffloads(uint32_t takes, bool resumed);

 private:
  // The offloads that this process set last.
  std::optional<uint32_t> asked_;
};

// openTap(name, descriptor | undefined, multiQueue)
//   -> { name, descriptor, multiQueue, start(..), addQueue(descriptor | undefined), look, setPersist, setCarrier,
//        features, setFeatures(words), limit, unlimit, renewLimit, dropped, close }
//    | { failed: the call that failed, errno }
Napi::Value OpenTap(const Napi::CallbackInfo& info);

}  // namespace vifd
