// A tap device: made and set up here, its frames moved in tap_io.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

namespace vifd {

// The descriptor of /dev/net/tun that is bound to one device.
struct TapDevice {
  int fd = -1;
  std::string name;
  ~TapDevice();
};

// openTap(name, [descriptor])
//   -> { name, descriptor, start(..), setPersist, setUp, setMtu, setMac, joinBridge, remove, close }
//    | { failed: the call that failed, errno }
Napi::Value OpenTap(const Napi::CallbackInfo& info);

}  // namespace vifd
