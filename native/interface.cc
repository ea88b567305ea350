#include "interface.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace vifd {

ifreq InterfaceRequest(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

int AskInterface(unsigned long command, ifreq* request) {
  // Any socket will do: it only selects the network namespace in which the kernel finds the name.
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int result = ioctl(fd, command, request) < 0 ? -errno : 0;
  close(fd);
  return result;
}

}  // namespace vifd
