// Writes to stdout and stderr without ever waiting for their readers.
#pragma once

#include <napi.h>

namespace vifd {

// writeNow(fd, bytes): returns how many of the bytes `fd` took at once, or -errno if it took none: -EAGAIN for a full pipe or socket, -EPIPE
// for one without a reader.
Napi::Value WriteNow(const Napi::CallbackInfo& info);

// endProcess(code): _exit(2). Never returns: it runs no exit handler, waits for no thread and frees no memory.
Napi::Value EndProcess(const Napi::CallbackInfo& info);

}  // namespace vifd
