// Frames in and out of a tap, a batch a call: lib/ports/port.ts, PortIo.
#pragma once

#include <napi.h>

#include <memory>

#include "tap.h"

namespace vifd {

// start({ writes, writesArena, reads, readsArena, mapped, offloads, resumed, completeV4, completeV6, onReadable })
//   -> { write(), read(), wantReadable(), close() }, or -errno.
Napi::Value StartTap(const Napi::CallbackInfo& info, const std::shared_ptr<TapDevice>& tap);

}  // namespace vifd
