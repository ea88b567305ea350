#include "tap.h"

#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/if_bridge.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>

#include "ethtool.h"
#include "interface.h"
#include "layout.h"
#include "tap_io.h"

#ifndef TUNSETCARRIER
// Linux 5.0.
#define TUNSETCARRIER _IOW('T', 226, int)
#endif

namespace vifd {

namespace {

constexpr short kTapFlags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

const char* SetHeaderSize(int fd) {
  const int bytes = layout::VNET_HEADER_BYTES;
  return ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0 ? "TUNSETVNETHDRSZ" : nullptr;
}

int SetUp(const TapDevice& tap, bool up) {
  ifreq request = InterfaceRequest(tap.name);
  if (const int error = AskInterface(SIOCGIFFLAGS, &request); error < 0) return error;
  const int flags = up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  request.ifr_flags = static_cast<short>(flags);
  return AskInterface(SIOCSIFFLAGS, &request);
}

// An older kernel knows no such ioctl: EINVAL.
int SetCarrier(const TapDevice& tap, bool on) {
  const int carrier = on ? 1 : 0;
  return ioctl(tap.fd, TUNSETCARRIER, &carrier) < 0 ? -errno : 0;
}

int SetMtu(const TapDevice& tap, int mtu) {
  ifreq request = InterfaceRequest(tap.name);
  request.ifr_mtu = mtu;
  return AskInterface(SIOCSIFMTU, &request);
}

int SetMac(const TapDevice& tap, const Napi::Uint8Array& mac) {
  if (mac.ElementLength() != 6) return -EINVAL;
  ifreq request = InterfaceRequest(tap.name);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(request.ifr_hwaddr.sa_data, mac.Data(), 6);
  return AskInterface(SIOCSIFHWADDR, &request);
}

// Asked of the bridge itself: /sys may show another network namespace's devices than the one that we are in.
bool HasPort(const std::string& bridge, int index) {
  // net/bridge/br_private.h, BR_MAX_PORTS: what BRCTL_GET_PORT_LIST fills at most. By port number, 0 for none.
  std::array<int, 1024> indices{};
  unsigned long arguments[] = {BRCTL_GET_PORT_LIST, reinterpret_cast<unsigned long>(indices.data()), indices.size(), 0};
  ifreq request = InterfaceRequest(bridge);
  request.ifr_data = reinterpret_cast<char*>(arguments);
  if (AskInterface(SIOCDEVPRIVATE, &request) < 0) return false;
  return std::find(indices.begin(), indices.end(), index) != indices.end();
}

// A persistent tap is still in the bridge that an earlier life put it into: that is no error.
int JoinBridge(const TapDevice& tap, const std::string& bridge) {
  ifreq found = InterfaceRequest(tap.name);
  if (const int error = AskInterface(SIOCGIFINDEX, &found); error < 0) return error;
  ifreq request = InterfaceRequest(bridge);
  request.ifr_ifindex = found.ifr_ifindex;
  const int error = AskInterface(SIOCBRADDIF, &request);
  return error == -EBUSY && HasPort(bridge, found.ifr_ifindex) ? 0 : error;
}

bool Bind(TapDevice* tap, const std::string& name, bool multi_queue) {
  ifreq request = InterfaceRequest(name);
  request.ifr_flags = static_cast<short>(kTapFlags | (multi_queue ? IFF_MULTI_QUEUE : 0));
  if (ioctl(tap->fd, TUNSETIFF, &request) < 0) return false;
  tap->name = request.ifr_name;
  tap->multi_queue = multi_queue;
  return true;
}

// The name of the call that failed, with errno, or nullptr. A device stays of the kind that it was made, with one queue or
// with several: the other kind is EINVAL.
const char* Create(TapDevice* tap, const std::string& name, bool multi_queue) {
  tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap->fd < 0) return "open";
  if (!Bind(tap, name, multi_queue) && (errno != EINVAL || !Bind(tap, name, !multi_queue))) return "TUNSETIFF";
  // The kernel itself refuses a second user of a device with one queue.
  if (tap->multi_queue && QueuesOf(tap->name) > 1) {
    errno = EBUSY;
    return "TUNSETIFF";
  }
  return SetHeaderSize(tap->fd);
}

const char* CreateQueue(TapDevice* tap, const std::string& name) {
  tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap->fd < 0) return "open";
  return Bind(tap, name, true) ? SetHeaderSize(tap->fd) : "TUNSETIFF";
}

// The same for a descriptor that somebody has kept. A device that was deleted meanwhile gives EBADFD, one that was
// renamed, or another's, ENODEV.
const char* Adopt(TapDevice* tap, const std::string& name, int fd) {
  tap->fd = fd;
  ifreq request{};
  if (ioctl(fd, TUNGETIFF, &request) < 0) return "TUNGETIFF";
  // Whatever else is set (IFF_PERSIST, IFF_NOFILTER) is no matter.
  if (name != request.ifr_name || (request.ifr_flags & kTapFlags) != kTapFlags) {
    errno = ENODEV;
    return "TUNGETIFF";
  }
  tap->name = name;
  tap->multi_queue = (request.ifr_flags & IFF_MULTI_QUEUE) != 0;
  if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return "fcntl";
  return SetHeaderSize(fd);
}

// By netlink: a device that is not persistent any more stays while anybody has a descriptor of it, and a service
// manager may.
int Delete(const std::string& name) {
  ifreq found = InterfaceRequest(name);
  if (const int error = AskInterface(SIOCGIFINDEX, &found); error < 0) return error;
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = found.ifr_ifindex;
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[256];
  } answer{};
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  // The kernel answers before `send` returns.
  const bool asked = send(fd, &request, sizeof request, 0) >= 0 && recv(fd, &answer, sizeof answer, 0) > 0;
  const int error = !asked ? -errno : answer.header.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
  close(fd);
  return error;
}

// One method that answers with 0 or -errno; -EBADF once the tap is closed.
void Method(Napi::Object out, const char* name, const std::shared_ptr<TapDevice>& tap,
            std::function<int(TapDevice&, const Napi::Value&)> call) {
  out[name] = Napi::Function::New(
      out.Env(),
      [tap, call = std::move(call)](const Napi::CallbackInfo& info) {
        return Napi::Number::New(info.Env(), tap->fd < 0 ? -EBADF : call(*tap, info[0]));
      },
      name);
}

Napi::Object Failure(Napi::Env env, const char* failed) {
  Napi::Object out = Napi::Object::New(env);
  out["errno"] = -errno;
  out["failed"] = failed;
  return out;
}

Napi::Object TapObject(Napi::Env env, const std::shared_ptr<TapDevice>& tap);

// A further queue of a device: a descriptor that somebody has kept, or one anew.
Napi::Object AddQueue(const Napi::CallbackInfo& info, const std::string& name) {
  const Napi::Env env = info.Env();
  const auto queue = std::make_shared<TapDevice>();
  const char* failed = info[0].IsNumber() ? Adopt(queue.get(), name, info[0].As<Napi::Number>().Int32Value())
                                          : CreateQueue(queue.get(), name);
  return failed == nullptr ? TapObject(env, queue) : Failure(env, failed);
}

}  // namespace

TapDevice::~TapDevice() {
  if (fd >= 0) close(fd);
}

Napi::Value OpenTap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto tap = std::make_shared<TapDevice>();
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  const char* failed = info[1].IsNumber() ? Adopt(tap.get(), name, info[1].As<Napi::Number>().Int32Value())
                                          : Create(tap.get(), name, info[2].ToBoolean());
  return failed == nullptr ? TapObject(env, tap) : Failure(env, failed);
}

namespace {

Napi::Object TapObject(Napi::Env env, const std::shared_ptr<TapDevice>& tap) {
  Napi::Object out = Napi::Object::New(env);
  out["name"] = tap->name;
  out["multiQueue"] = tap->multi_queue;
  out["descriptor"] = tap->fd;
  Method(out, "setPersist", tap, [](TapDevice& self, const Napi::Value& on) {
    return ioctl(self.fd, TUNSETPERSIST, on.As<Napi::Boolean>().Value() ? 1 : 0) < 0 ? -errno : 0;
  });
  Method(out, "setUp", tap,
         [](TapDevice& self, const Napi::Value& up) { return SetUp(self, up.As<Napi::Boolean>().Value()); });
  Method(out, "setCarrier", tap, [](TapDevice& self, const Napi::Value& on) {
    return SetCarrier(self, on.As<Napi::Boolean>().Value());
  });
  Method(out, "setMtu", tap,
         [](TapDevice& self, const Napi::Value& mtu) { return SetMtu(self, mtu.As<Napi::Number>().Int32Value()); });
  Method(out, "setMac", tap,
         [](TapDevice& self, const Napi::Value& mac) { return SetMac(self, mac.As<Napi::Uint8Array>()); });
  Method(out, "joinBridge", tap, [](TapDevice& self, const Napi::Value& bridge) {
    return JoinBridge(self, bridge.As<Napi::String>().Utf8Value());
  });
  Method(out, "remove", tap, [](TapDevice& self, const Napi::Value&) { return Delete(self.name); });
  Method(out, "close", tap, [](TapDevice& self, const Napi::Value&) {
    const int fd = self.fd;
    self.fd = -1;
    return close(fd) < 0 ? -errno : 0;
  });
  out["start"] = Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) { return StartTap(call, tap); });
  out["addQueue"] =
      Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) { return AddQueue(call, tap->name); });
  return out;
}

}  // namespace

}  // namespace vifd
