#include "tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace bench {

namespace {

void Call(int fd, unsigned long command, void* argument, const char* what) {
  if (ioctl(fd, command, argument) < 0) throw std::runtime_error(std::string(what) + ": " + strerror(errno));
}

void SetUp(ifreq request) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool done = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 &&
                    (request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP), true) &&
                    ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!done) throw std::runtime_error(std::string("cannot set the tap up: ") + strerror(error));
}

void Refused(int error) { throw std::runtime_error(std::string("the tap refused a frame: ") + strerror(error)); }

}  // namespace

TapSink::TapSink(const std::string& name, bool batched)
    : fd_(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)), ring_(batched ? Uring::Open() : nullptr) {
  if (fd_ < 0) throw std::runtime_error(std::string("/dev/net/tun: ") + strerror(errno));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  int header = sizeof(VnetHeader);
  Call(fd_, TUNSETIFF, &request, "TUNSETIFF");
  Call(fd_, TUNSETVNETHDRSZ, &header, "TUNSETVNETHDRSZ");
  SetUp(request);
}

TapSink::~TapSink() { close(fd_); }

uint32_t TapSink::Write(const Arena& arena, const Frame* frames, uint32_t count) {
  // One frame is one system call either way, and write(2) is the shorter one.
  return ring_ != nullptr && count > 1 ? WriteTogether(arena, frames, count) : WriteEach(arena, frames, count);
}

uint32_t TapSink::WriteEach(const Arena& arena, const Frame* frames, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (frames[i].length == 0) continue;
    const void* start = arena.at(frames[i].offset - sizeof(VnetHeader));
    const size_t bytes = sizeof(VnetHeader) + frames[i].length;
    ssize_t sent;
    do {
      sent = write(fd_, start, bytes);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) Refused(errno);
  }
  return count;
}

uint32_t TapSink::WriteTogether(const Arena& arena, const Frame* frames, uint32_t count) {
  int error = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (frames[i].length == 0) continue;
    const uint32_t bytes = static_cast<uint32_t>(sizeof(VnetHeader)) + frames[i].length;
    ring_->Write(fd_, arena.at(frames[i].offset - sizeof(VnetHeader)), bytes);
    if (ring_->full()) error = std::max(error, ring_->Submit());
  }
  if (ring_->queued() > 0) error = std::max(error, ring_->Submit());
  if (error != 0) Refused(error);
  return count;
}

}  // namespace bench
