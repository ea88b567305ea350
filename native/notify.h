// Datagrams to a service manager, and sockets that receive them. Node has no unix datagram sockets.
#pragma once

#include <napi.h>

namespace vifd {

// sendDatagram(path, text, [descriptor]): sends one datagram to a unix socket, and the descriptor with it (SCM_RIGHTS). Returns 0, or -errno.
// A path that begins with '@' is in the abstract namespace.
Napi::Value SendDatagram(const Napi::CallbackInfo& info);

// bindDatagrams(path): a socket that receives such datagrams and does not block, or -errno.
Napi::Value BindDatagrams(const Napi::CallbackInfo& info);

}  // namespace vifd
