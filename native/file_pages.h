// Files as memory that outlives the process.
#pragma once

#include <napi.h>

namespace vifd {

// mapFile(path, bytes): a file of that length, { buffer, unmap(), cut() }, or -errno. Grown files are zeroed. `cut()` returns whether the
// file was truncated while it was mapped, so that zeros have replaced what was read or written since.
Napi::Value MapFile(const Napi::CallbackInfo& info);

}  // namespace vifd
