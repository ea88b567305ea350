// Unix sockets, by their paths.
#pragma once

#include <napi.h>

namespace vifd {

// connectUnix(path) -> a connected stream socket's descriptor that does not block, or -errno. For the start of a
// process: loading node:net takes as long as all else that is done with the store then.
Napi::Value ConnectUnix(const Napi::CallbackInfo& info);

}  // namespace vifd
