#include "output.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace vifd {
namespace {

// Writes as much as a blocking descriptor takes without waiting. O_NONBLOCK is no alternative: it would be set for every process with the
// same terminal or pipe. A pipe that poll(2) reports as writable has room for PIPE_BUF bytes, and only this thread writes to it.
ssize_t WriteSome(int fd, const uint8_t* data, size_t size) {
  const ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  pollfd ready = {fd, POLLOUT, 0};
  const int count = poll(&ready, 1, 0);
  if (count > 0) return write(fd, data, std::min<size_t>(size, PIPE_BUF));
  if (count == 0) errno = EAGAIN;
  return -1;
}

}  // namespace

Napi::Value WriteNow(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
  const uint8_t* data = bytes.Data();
  const size_t size = bytes.ByteLength();
  size_t done = 0;
  int error = 0;
  while (done < size && error == 0) {
    const ssize_t count = WriteSome(fd, data + done, size - done);
    if (count > 0) {
      done += static_cast<size_t>(count);
    } else if (count < 0 && errno != EINTR) {
      error = errno;
    }
  }
  return Napi::Number::New(info.Env(), done > 0 ? static_cast<double>(done) : -error);
}

Napi::Value EndProcess(const Napi::CallbackInfo& info) { _exit(info[0].As<Napi::Number>().Int32Value()); }

}  // namespace vifd
