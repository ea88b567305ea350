// A tap device: made and set up here, its frames moved in tap_io.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "tap_limit.h"

namespace vifd {

// The descriptor of /dev/net/tun that is bound to one device, or to one queue of it.
struct TapDevice {
  int fd = -1;
  // As it was last looked at.
  std::string name;
  bool multi_queue = false;
  // One for all queues of the device; null once closed.
  std::shared_ptr<TapLimit> limit;
  ~TapDevice();
  // Asks for the name anew. 0 or -errno: -EBADFD once the device is deleted.
  int Refresh();
};

// openTap(name, descriptor | undefined, multiQueue)
//   -> { name, descriptor, multiQueue, start(..), addQueue(descriptor | undefined), look, setPersist,
//        setCarrier, limit, unlimit, renewLimit, dropped, close }
//    | { failed: the call that failed, errno }
Napi::Value OpenTap(const Napi::CallbackInfo& info);

}  // namespace vifd
