// A page that a worker shares with the processes that watch it: shows when the worker's main thread ends, and whether its event loop runs.
#pragma once

#include <napi.h>

namespace vifd {

// makeLiveness() -> descriptor of a new page, or -errno. Children do not inherit it.
Napi::Value MakeLiveness(const Napi::CallbackInfo& info);

// holdLiveness(fd) -> 0 | -errno. Binds the page to the calling thread, until that ends. See lib/host/liveness.ts.
Napi::Value HoldLiveness(const Napi::CallbackInfo& info);

// watchLiveness(fd) -> { descriptor, close() } | -errno. See NativeLivenessWatch in lib/addon.ts.
Napi::Value WatchLiveness(const Napi::CallbackInfo& info);

// openProcess(pid) -> a pidfd, which can be read once that process has ended, or -errno.
Napi::Value OpenProcess(const Napi::CallbackInfo& info);

}  // namespace vifd
