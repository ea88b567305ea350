// Words to a service manager.
#pragma once

#include <napi.h>

namespace vifd {

// sendDatagram(path, text, [descriptor]): one datagram to a unix socket, and the descriptor with it (SCM_RIGHTS); 0, or
// -errno. A leading '@' is the abstract namespace. Node has no unix datagram sockets.
Napi::Value SendDatagram(const Napi::CallbackInfo& info);

}  // namespace vifd
