#include "unix.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace vifd {
namespace {

// xenstored listens with a queue of one, so a client waits until it is accepted, at most this long. Without waiting, connect would fail with
// EAGAIN whenever another client is connecting.
constexpr timeval kPatience = {1, 0};

int Connect(const std::string& path) {
  sockaddr_un address = {};
  if (path.size() >= sizeof address.sun_path) return -ENAMETOOLONG;
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience) == 0 &&
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      fcntl(fd, F_SETFL, O_NONBLOCK) == 0) {
    return fd;
  }
  const int error = -errno;
  close(fd);
  return error;
}

}  // namespace

Napi::Value ConnectUnix(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Connect(info[0].As<Napi::String>().Utf8Value()));
}

}  // namespace vifd
