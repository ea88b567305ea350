#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>

namespace vifd {
namespace {

int Send(std::string path, const std::string& text) {
  sockaddr_un address = {};
  if (path.empty() || path.size() >= sizeof address.sun_path) return -EINVAL;
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // An abstract name ends where the address does: no byte may follow.
  const socklen_t length = offsetof(sockaddr_un, sun_path) + path.size();
  // Not waiting: a manager that does not read must not stop the event loop.
  const ssize_t sent = sendto(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                              reinterpret_cast<const sockaddr*>(&address), length);
  const int error = sent < 0 ? -errno : 0;
  close(fd);
  return error;
}

}  // namespace

Napi::Value SendDatagram(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(),
                           Send(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::String>().Utf8Value()));
}

}  // namespace vifd
