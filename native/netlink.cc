#include "netlink.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vifd {

namespace {

// The kernel sends no datagram of more than 32 KiB in a dump (net/netlink/af_netlink.c); a message of one link has a few KiB.
constexpr size_t kBufferBytes = 64 * 1024;
// The kernel responds before `send` returns, so a response that has not come within this time was lost.
constexpr timeval kPatience = {2, 0};
// Attempts for a response that was lost, and for a list that changed while it was read.
constexpr int kAttempts = 5;
// Room for messages that wait while the event loop is busy: one of a link has about 1.5 KiB.
constexpr int kGroupBytes = 4 * 1024 * 1024;

}  // namespace

LinkMessage::LinkMessage(uint16_t type, uint16_t flags, int index, uint8_t family)
    : words_(NLMSG_SPACE(sizeof(ifinfomsg)) / sizeof(uint32_t)) {
  header()->nlmsg_len = NLMSG_LENGTH(sizeof(ifinfomsg));
  header()->nlmsg_type = type;
  header()->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  link()->ifi_family = family;
  link()->ifi_index = index;
}

LinkMessage& LinkMessage::Put(uint16_t type, const void* data, size_t bytes) {
  const size_t start = NLMSG_ALIGN(header()->nlmsg_len);
  words_.resize((start + RTA_SPACE(bytes)) / sizeof(uint32_t));
  auto* attribute = reinterpret_cast<rtattr*>(reinterpret_cast<char*>(words_.data()) + start);
  attribute->rta_type = type;
  attribute->rta_len = static_cast<uint16_t>(RTA_LENGTH(bytes));
  if (bytes > 0) memcpy(RTA_DATA(attribute), data, bytes);
  header()->nlmsg_len = static_cast<uint32_t>(start + RTA_LENGTH(bytes));
  return *this;
}

size_t LinkMessage::BeginNest(uint16_t type) {
  const size_t start = NLMSG_ALIGN(header()->nlmsg_len);
  Put(static_cast<uint16_t>(type | NLA_F_NESTED), nullptr, 0);
  return start;
}

void LinkMessage::EndNest(size_t start) {
  auto* attribute = reinterpret_cast<rtattr*>(reinterpret_cast<char*>(words_.data()) + start);
  attribute->rta_len = static_cast<uint16_t>(header()->nlmsg_len - start);
}

int NetlinkSocket::Open(unsigned group) {
  const int wait = group == 0 ? 0 : SOCK_NONBLOCK;
  fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | wait, NETLINK_ROUTE);
  if (fd_ < 0) return -errno;
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  socklen_t bytes = sizeof address;
  const int on = 1;
  const bool ready =
      bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes) == 0 &&
      (group == 0 ? setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience) == 0
                  : setsockopt(fd_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) == 0);
  if (!ready) {
    const int error = -errno;
    Close();
    return error;
  }
  // These three options are improvements only. vifd works without them on an older kernel, or on one that refuses the room.
  setsockopt(fd_, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd_, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  if (group != 0 && setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &kGroupBytes, sizeof kGroupBytes) < 0)
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &kGroupBytes, sizeof kGroupBytes);
  port_ = address.nl_pid;
  buffer_.resize(kBufferBytes / sizeof(uint32_t));
  return 0;
}

void NetlinkSocket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

int NetlinkSocket::Receive() {
  for (;;) {
    sockaddr_nl from{};
    iovec piece = {buffer_.data(), kBufferBytes};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const ssize_t bytes = recvmsg(fd_, &message, 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return -errno;
    // Other processes can send to this socket too.
    if (from.nl_pid != 0) continue;
    // A truncated message counts as lost: either way something is missing.
    if ((message.msg_flags & MSG_TRUNC) != 0) return -ENOBUFS;
    return static_cast<int>(bytes);
  }
}

int NetlinkSocket::Ask(LinkMessage* message, const OnMessage& on_message) {
  int error = -EBADF;
  for (int attempt = 0; fd_ >= 0 && attempt < kAttempts; attempt++) {
    error = AskOnce(message, on_message);
    if (error != -ENOBUFS && error != -EINTR) break;
  }
  return error;
}

int NetlinkSocket::AskOnce(LinkMessage* message, const OnMessage& on_message) {
  nlmsghdr* request = message->header();
  const bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  if (!dump) request->nlmsg_flags |= NLM_F_ACK;
  request->nlmsg_seq = ++sequence_;
  reason_.clear();
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = sendto(fd_, request, request->nlmsg_len, 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return -errno;
  bool changed = false;
  for (;;) {
    const int bytes = Receive();
    if (bytes < 0) return bytes == -EAGAIN ? -ETIMEDOUT : bytes;
    auto rest = static_cast<unsigned>(bytes);
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    for (; NLMSG_OK(header, rest); header = NLMSG_NEXT(header, rest)) {
      // A late response to an earlier request.
      if (header->nlmsg_seq != sequence_ || header->nlmsg_pid != port_) continue;
      if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0) changed = true;
      if (header->nlmsg_type == NLMSG_DONE) return changed ? -EINTR : 0;
      if (header->nlmsg_type != NLMSG_ERROR) {
        if (on_message) on_message(header);
        continue;
      }
      if (header->nlmsg_len < NLMSG_LENGTH(sizeof(nlmsgerr))) return -EPROTO;
      const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(header));
      if (error->error != 0) ReadReason(header, error);
      return error->error;
    }
  }
}

void NetlinkSocket::ReadReason(const nlmsghdr* header, const nlmsgerr* error) {
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return;
  // The kernel puts the request in front of the text; only its header if the kernel knows NETLINK_CAP_ACK.
  const bool capped = (header->nlmsg_flags & NLM_F_CAPPED) != 0;
  const size_t echoed = capped ? 0 : NLMSG_ALIGN(error->msg.nlmsg_len) - NLMSG_HDRLEN;
  const size_t start = NLMSG_LENGTH(sizeof(nlmsgerr)) + echoed;
  if (header->nlmsg_len <= start) return;
  const auto* first = reinterpret_cast<const rtattr*>(reinterpret_cast<const char*>(header) + start);
  EachAttribute(first, header->nlmsg_len - start, [this](uint16_t type, const rtattr* attribute) {
    if (type != NLMSGERR_ATTR_MSG) return;
    const auto* text = static_cast<const char*>(RTA_DATA(attribute));
    reason_.assign(text, strnlen(text, RTA_PAYLOAD(attribute)));
  });
}

int NetlinkSocket::Take(const OnMessage& on_message) {
  if (fd_ < 0) return -EBADF;
  int lost = 0;
  for (;;) {
    const int bytes = Receive();
    if (bytes == -EAGAIN) return lost;
    // Reads on: the messages that still wait are older than the dropped ones, and must not arrive after the caller has read all interfaces
    // again.
    if (bytes == -ENOBUFS) {
      lost = bytes;
      continue;
    }
    if (bytes < 0) return bytes;
    auto rest = static_cast<unsigned>(bytes);
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    for (; NLMSG_OK(header, rest); header = NLMSG_NEXT(header, rest)) on_message(header);
  }
}

void EachAttribute(const rtattr* first, size_t bytes, const std::function<void(uint16_t, const rtattr*)>& call) {
  auto rest = static_cast<int>(bytes);
  for (const rtattr* at = first; RTA_OK(at, rest); at = RTA_NEXT(at, rest)) {
    call(static_cast<uint16_t>(at->rta_type & NLA_TYPE_MASK), at);
  }
}

}  // namespace vifd
