// Event channels: binding, closing, marking. The caller holds the host mutex but for `notify_port`.
#pragma once

#include <cstdint>

#include "host.h"

namespace xensim {

// Functions that return int give a port, or -errno.

int bind_unbound(Host &host, uint32_t remote_domid);
int bind_interdomain(Host &host, uint32_t remote_domid, uint32_t remote_port);
// The peer's end becomes unbound again, for the same domain, and can be bound again.
void close_port(Host &host, uint32_t domid, uint32_t port);
void close_ports(Host &host, uint32_t domid, uint32_t session);
bool owns_port(Host &host, uint32_t port);
// Lock-free. Does nothing when there is no peer. The port is ours.
void notify_port(Host &host, uint32_t port);

}  // namespace xensim
