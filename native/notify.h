// Datagrams to a service manager, and to one that is made here. Node has no unix datagram sockets.
#pragma once

#include <napi.h>

namespace vifd {

// sendDatagram(path, text, [descriptor]): one datagram to a unix socket, and the descriptor with it (SCM_RIGHTS); 0, or
// -errno. A leading '@' is the abstract namespace.
Napi::Value SendDatagram(const Napi::CallbackInfo& info);

// bindDatagrams(path): a socket that receives such datagrams and does not block, or -errno.
Napi::Value BindDatagrams(const Napi::CallbackInfo& info);

}  // namespace vifd
