// Descriptors that pass from process to process, over unix sockets (SCM_RIGHTS, unix(7)).
#pragma once

#include <napi.h>
#include <sys/socket.h>

#include <cstddef>

namespace vifd {

// Linux's SCM_MAX_FD: no message holds more.
constexpr size_t kDescriptorsMax = 253;

// Room for the descriptors of one message.
struct DescriptorRoom {
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * kDescriptorsMax)];
};

// Has `message` carry the descriptors, at most kDescriptorsMax, which stay open here. `room` has to outlive the message.
void CarryDescriptors(msghdr* message, DescriptorRoom* room, const int* descriptors, size_t count);

// duplicateDescriptor(fd): another descriptor of the same file, which a child does not inherit; or -errno.
Napi::Value DuplicateDescriptor(const Napi::CallbackInfo& info);

// socketPair(): the two ends of a connection that keeps the bounds of messages; or -errno.
Napi::Value SocketPair(const Napi::CallbackInfo& info);

// sendMessage(fd, bytes, descriptors): how many bytes were sent without waiting, or -errno.
Napi::Value SendMessage(const Napi::CallbackInfo& info);

// receiveMessage(fd, bytes, descriptorsMax): {bytes, descriptors}, without waiting, or -errno. See lib/addon.ts.
Napi::Value ReceiveMessage(const Napi::CallbackInfo& info);

}  // namespace vifd
