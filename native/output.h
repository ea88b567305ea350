// Writing to stdout and stderr without ever waiting for who reads them.
#pragma once

#include <napi.h>

namespace vifd {

// writeNow(fd, bytes) -> how many of the bytes `fd` took at once, or -errno when it took none: -EAGAIN of a full pipe or
// socket, -EPIPE of one without a reader.
Napi::Value WriteNow(const Napi::CallbackInfo& info);

// endProcess(code): _exit(2). Returns never: no exit handler runs, no thread is waited for, nothing is freed one by one.
Napi::Value EndProcess(const Napi::CallbackInfo& info);

}  // namespace vifd
