#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "descriptors.h"

namespace vifd {
namespace {

// A path that begins with '@' is in the abstract namespace. Returns 0 or -errno.
int AddressOf(const std::string& path, sockaddr_un* address, socklen_t* length) {
  if (path.empty() || path.size() >= sizeof address->sun_path) return -EINVAL;
  address->sun_family = AF_UNIX;
  path.copy(address->sun_path, path.size());
  if (path[0] == '@') address->sun_path[0] = '\0';
  // An abstract name ends where the address ends, so no byte may follow.
  *length = offsetof(sockaddr_un, sun_path) + path.size();
  return 0;
}

// `passed`: a descriptor to send with the text, or -1.
int Send(const std::string& path, std::string text, int passed) {
  sockaddr_un address = {};
  socklen_t length = 0;
  if (const int error = AddressOf(path, &address, &length); error < 0) return error;
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  iovec piece = {text.data(), text.size()};
  msghdr message = {};
  message.msg_name = &address;
  message.msg_namelen = length;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  DescriptorRoom room = {};
  CarryDescriptors(&message, &room, &passed, passed >= 0 ? 1 : 0);
  // Does not wait: a service manager that does not read must not stop the event loop.
  const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  const int error = sent < 0 ? -errno : 0;
  close(fd);
  return error;
}

// Returns the socket, or -errno.
int Bind(const std::string& path) {
  sockaddr_un address = {};
  socklen_t length = 0;
  if (const int error = AddressOf(path, &address, &length); error < 0) return error;
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) return fd;
  const int error = -errno;
  close(fd);
  return error;
}

}  // namespace

Napi::Value BindDatagrams(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Bind(info[0].As<Napi::String>().Utf8Value()));
}

Napi::Value SendDatagram(const Napi::CallbackInfo& info) {
  const int passed = info[2].IsNumber() ? info[2].As<Napi::Number>().Int32Value() : -1;
  const int status =
      Send(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::String>().Utf8Value(), passed);
  return Napi::Number::New(info.Env(), status);
}

}  // namespace vifd
