#include "descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace vifd {
namespace {

// stdin, stdout and stderr stay what they are.
constexpr int kFirstOwn = 3;

// The descriptors of a received message. Closes those that are not handed over.
class Received {
 public:
  Received() = default;
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;
  ~Received() {
    for (size_t i = 0; i < count_; i++) close(descriptors_[i]);
  }

  void Collect(msghdr* message) {
    for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr; header = CMSG_NXTHDR(message, header)) {
      if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) Add(header);
    }
  }

  size_t count() const { return count_; }

  // Throws if JavaScript has no memory; the destructor then closes the descriptors.
  Napi::Array HandOver(Napi::Env env) {
    Napi::Array out = Napi::Array::New(env, count_);
    for (size_t i = 0; i < count_; i++) out[static_cast<uint32_t>(i)] = static_cast<double>(descriptors_[i]);
    count_ = 0;
    return out;
  }

 private:
  // The kernel puts all of a message's descriptors into one header, and no more than fit into DescriptorRoom.
  void Add(const cmsghdr* header) {
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const size_t fitting = std::min(count, kDescriptorsMax - count_);
    memcpy(descriptors_ + count_, CMSG_DATA(header), fitting * sizeof(int));
    count_ += fitting;
  }

  int descriptors_[kDescriptorsMax];
  size_t count_ = 0;
};

ssize_t Receive(int fd, msghdr* message) {
  for (;;) {
    // CLOEXEC from the first moment on: another thread may start a program before a further call could set it.
    const ssize_t bytes = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes >= 0 || errno != EINTR) return bytes;
  }
}

Napi::Value Failed(Napi::Env env, int error) { return Napi::Number::New(env, -error); }

}  // namespace

void CarryDescriptors(msghdr* message, DescriptorRoom* room, const int* descriptors, size_t count) {
  if (count == 0) return;
  message->msg_control = room->bytes;
  message->msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* header = CMSG_FIRSTHDR(message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * count);
  memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
}

Napi::Value DuplicateDescriptor(const Napi::CallbackInfo& info) {
  const int fd = fcntl(info[0].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, kFirstOwn);
  return Napi::Number::New(info.Env(), fd < 0 ? -errno : fd);
}

Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
    return Failed(info.Env(), errno);
  Napi::Array out = Napi::Array::New(info.Env(), 2);
  out[0u] = static_cast<double>(ends[0]);
  out[1u] = static_cast<double>(ends[1]);
  return out;
}

Napi::Value SendMessage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
  const auto given = info[2].As<Napi::Array>();
  const size_t count = given.Length();
  if (count > kDescriptorsMax) return Failed(env, EINVAL);
  int descriptors[kDescriptorsMax];
  for (size_t i = 0; i < count; i++) descriptors[i] = given.Get(i).As<Napi::Number>().Int32Value();
  iovec piece = {bytes.Data(), bytes.ByteLength()};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  DescriptorRoom room = {};
  CarryDescriptors(&message, &room, descriptors, count);
  const ssize_t sent = sendmsg(info[0].As<Napi::Number>().Int32Value(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  return Napi::Number::New(env, sent < 0 ? -errno : static_cast<double>(sent));
}

Napi::Value ReceiveMessage(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
  iovec piece = {bytes.Data(), bytes.ByteLength()};
  DescriptorRoom room = {};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = room.bytes;
  message.msg_controllen = sizeof room.bytes;
  const ssize_t length = Receive(info[0].As<Napi::Number>().Int32Value(), &message);
  if (length < 0) return Failed(env, errno);
  Received received;
  received.Collect(&message);
  if ((message.msg_flags & MSG_TRUNC) != 0) return Failed(env, EMSGSIZE);
  // MSG_CTRUNC: this process may open no further descriptor (RLIMIT_NOFILE), or a security module refuses one.
  const bool cut = (message.msg_flags & MSG_CTRUNC) != 0;
  if (cut || received.count() > info[2].As<Napi::Number>().Uint32Value()) return Failed(env, E2BIG);
  Napi::Object out = Napi::Object::New(env);
  out["bytes"] = static_cast<double>(length);
  out["descriptors"] = received.HandOver(env);
  return out;
}

}  // namespace vifd
