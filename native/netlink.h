// A socket of NETLINK_ROUTE: requests with their responses, and messages that the kernel sends to a group.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace vifd {

// A request about one interface, as it is built.
class LinkMessage {
 public:
  // `index` 0: the request's attributes name the interface, or the request is about all.
  LinkMessage(uint16_t type, uint16_t flags, int index, uint8_t family = 0);

  LinkMessage& Put(uint16_t type, const void* data, size_t bytes);
  LinkMessage& Put(uint16_t type, const std::string& text) { return Put(type, text.c_str(), text.size() + 1); }
  LinkMessage& PutWord(uint16_t type, uint32_t value) { return Put(type, &value, sizeof value); }
  LinkMessage& PutByte(uint16_t type, uint8_t value) { return Put(type, &value, sizeof value); }
  // Attributes that are added between the two calls lie inside this one.
  size_t BeginNest(uint16_t type);
  void EndNest(size_t start);

  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(words_.data()); }
  ifinfomsg* link() { return static_cast<ifinfomsg*>(NLMSG_DATA(header())); }

 private:
  // Words, so that the headers are aligned.
  std::vector<uint32_t> words_;
};

class NetlinkSocket {
 public:
  using OnMessage = std::function<void(const nlmsghdr*)>;

  NetlinkSocket() = default;
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;
  ~NetlinkSocket() { Close(); }

  // `group`: RTNLGRP_*, for a socket that only listens and never waits; 0: for requests. Returns 0 or -errno.
  int Open(unsigned group);
  void Close();
  int fd() const { return fd_; }

  // Sends the request and waits for the kernel's acknowledgement, or for the end of a dump. Returns 0 or -errno.
  int Ask(LinkMessage* message, const OnMessage& on_message = nullptr);
  // Returns the kernel's reason for the last request that it refused (NETLINK_EXT_ACK); often empty.
  const std::string& reason() const { return reason_; }

  // Passes on the messages that have come to the group. Returns 0, or -errno: -ENOBUFS if the kernel had to drop some.
  int Take(const OnMessage& on_message);

 private:
  int AskOnce(LinkMessage* message, const OnMessage& on_message);
  // Receives one datagram of the kernel. Returns its bytes, or -errno.
  int Receive();
  void ReadReason(const nlmsghdr* header, const nlmsgerr* error);

  int fd_ = -1;
  uint32_t sequence_ = 0;
  uint32_t port_ = 0;
  std::string reason_;
  std::vector<uint32_t> buffer_;
};

// Visits the attributes in `bytes` from `first` on. Ends at the first that does not fit.
void EachAttribute(const rtattr* first, size_t bytes, const std::function<void(uint16_t, const rtattr*)>& call);

}  // namespace vifd
