// Event channels, delivered on the event loop.
#pragma once

#include <napi.h>

#include <memory>

#include "xenlib.h"

namespace vifd {

// openEvents(block: Int32Array, onEvents) -> { bind, bindUnbound, notify, unmask, unbind, restrict, close }, or -errno. `onEvents` runs once
// for all ports that were found pending: block[0] of them, in block[1..]; a negative block[0] is an errno that ended delivery.
Napi::Value OpenEvents(const Napi::CallbackInfo& info, const std::shared_ptr<XenLib>& lib);

}  // namespace vifd
