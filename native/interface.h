// ioctls on network interfaces; the request has the interface's name.
#pragma once

#include <sys/socket.h>
// Behind sys/socket.h: both define struct sockaddr's relatives, and only this order compiles.
#include <linux/if.h>

#include <string>

namespace vifd {

ifreq InterfaceRequest(const std::string& name);

// Returns 0 or -errno. The kernel writes its response into the request.
int AskInterface(unsigned long command, ifreq* request);

}  // namespace vifd
