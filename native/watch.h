// Calls back when a descriptor can be read: for files that libuv's own streams do not support, such as /dev/xen/xenbus.
#pragma once

#include <napi.h>

namespace vifd {

// watch(fd, onReadable, background) -> close(), or -errno. Level-triggered. In the background it does not keep the event loop alive.
Napi::Value Watch(const Napi::CallbackInfo& info);

}  // namespace vifd
