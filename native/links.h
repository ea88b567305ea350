// Reads, changes and follows the network interfaces of this network namespace, by netlink.
#pragma once

#include <napi.h>

namespace vifd {

// openLinks() -> { get(nameOrIndex), list(), set(index, changes), setPort(index, flags), remove(index), reason(), close() }
//   | -errno. See NativeLinks in lib/addon.ts.
Napi::Value OpenLinks(const Napi::CallbackInfo& info);

// followLinks() -> { descriptor, take(), close() } | -errno. See NativeLinkEvents in lib/addon.ts.
Napi::Value FollowLinks(const Napi::CallbackInfo& info);

}  // namespace vifd
