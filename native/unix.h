// Unix sockets, by their paths.
#pragma once

#include <napi.h>

namespace vifd {

// connectUnix(path) -> a connected stream socket's descriptor that does not block, or -errno. For the start of a process: to load node:net
// takes as long as all other work with the store at a start.
Napi::Value ConnectUnix(const Napi::CallbackInfo& info);

}  // namespace vifd
