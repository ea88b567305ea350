// What a process gives up for good, so that a guest that takes control of it gains little.
#pragma once
#include <napi.h>

namespace vifd {

// startConfined(start, capabilities): calls `start`, and returns what it returns. A process that is started meanwhile keeps those of this thread's
// capabilities (a bit each) that it names, and gains none by execve(2). @throws what `start` throws.
Napi::Value StartConfined(const Napi::CallbackInfo& info);

// confine(): from now on all threads of this process are refused the system calls that a worker does not need, and no process of the same
// user can look into this one. Returns 0 or -errno.
Napi::Value Confine(const Napi::CallbackInfo& info);

}  // namespace vifd
