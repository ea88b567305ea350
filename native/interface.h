// ioctls on network interfaces, which are named in the request.
#pragma once

#include <sys/socket.h>
// After sys/socket.h: both define struct sockaddr's friends, and only this order agrees.
#include <linux/if.h>

#include <string>

namespace vifd {

ifreq InterfaceRequest(const std::string& name);

// Returns 0 or -errno. The kernel writes its response into the request.
int AskInterface(unsigned long command, ifreq* request);

}  // namespace vifd
