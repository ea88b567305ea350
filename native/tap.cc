#include "tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include "ethtool.h"
#include "interface.h"
#include "layout.h"
#include "tap_io.h"

#ifndef TUNSETCARRIER
// Linux 5.0.
#define TUNSETCARRIER _IOW('T', 226, int)
#endif
#ifndef IFF_NO_CARRIER
// Linux 6.2.
#define IFF_NO_CARRIER 0x0040
#endif
#ifndef TUNGETDEVNETNS
// Linux 5.2.
#define TUNGETDEVNETNS _IO('T', 227)
#endif

namespace vifd {

namespace {

constexpr short kTapFlags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

const char* SetHeaderSize(int fd) {
  const int bytes = layout::VNET_HEADER_BYTES;
  return ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0 ? "TUNSETVNETHDRSZ" : nullptr;
}

// A kernel before Linux 5.0 has no such ioctl: EINVAL.
int SetCarrier(TapDevice* tap, bool on) {
  const int carrier = on ? 1 : 0;
  if (ioctl(tap->fd, TUNSETCARRIER, &carrier) < 0) return -errno;
  if (tap->Refresh() == 0 && tap->IsHere()) SettleCarrier(tap->name);
  return 0;
}

bool Bind(TapDevice* tap, const std::string& name, bool multi_queue) {
  ifreq request = InterfaceRequest(name);
  // No guest is connected yet. The kernel leaves the carrier unchanged if another queue is attached already (tun_set_iff).
  request.ifr_flags = static_cast<short>(kTapFlags | IFF_NO_CARRIER | (multi_queue ? IFF_MULTI_QUEUE : 0));
  if (ioctl(tap->fd, TUNSETIFF, &request) < 0) return false;
  tap->name = request.ifr_name;
  tap->multi_queue = multi_queue;
  return true;
}

// Returns the name of the call that failed, with errno, or nullptr. A device has one queue or several for as long as it exists: to ask for
// the other kind is EINVAL.
const char* Create(TapDevice* tap, const std::string& name, bool multi_queue) {
  tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap->fd < 0) return "open";
  if (!Bind(tap, name, multi_queue) && (errno != EINVAL || !Bind(tap, name, !multi_queue))) return "TUNSETIFF";
  // For a device with one queue the kernel itself refuses a second user.
  if (tap->multi_queue && QueuesOf(tap->name) > 1) {
    errno = EBUSY;
    return "TUNSETIFF";
  }
  // Kernels before 6.2 ignore IFF_NO_CARRIER, and have switched the carrier on.
  SetCarrier(tap, false);
  return SetHeaderSize(tap->fd);
}

// Opens a further queue of the device of `first`. Reads its name again, because the kernel would make a new device under the old name if the
// device was renamed or moved to another network namespace.
const char* CreateQueue(TapDevice* tap, TapDevice* first) {
  if (const int error = first->Refresh(); error < 0 || !first->IsHere()) {
    errno = error < 0 ? -error : ENODEV;
    return "TUNGETIFF";
  }
  tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap->fd < 0) return "open";
  return Bind(tap, first->name, true) ? SetHeaderSize(tap->fd) : "TUNSETIFF";
}

// The same for a descriptor that stayed open. A device that was deleted meanwhile gives EBADFD, and one of another kind ENODEV. The device
// may have another name now.
const char* Adopt(TapDevice* tap, int fd) {
  tap->fd = fd;
  ifreq request{};
  if (ioctl(fd, TUNGETIFF, &request) < 0) return "TUNGETIFF";
  // Other flags (IFF_PERSIST, IFF_NOFILTER) do not matter.
  if ((request.ifr_flags & kTapFlags) != kTapFlags) {
    errno = ENODEV;
    return "TUNGETIFF";
  }
  tap->name = request.ifr_name;
  tap->multi_queue = (request.ifr_flags & IFF_MULTI_QUEUE) != 0;
  if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return "fcntl";
  return SetHeaderSize(fd);
}

// A method that returns 0 or -errno; -EBADF once the tap is closed.
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

// Returns { name, here }, or -errno: -EBADFD once the device is deleted.
Napi::Value Look(Napi::Env env, TapDevice* tap) {
  if (tap->fd < 0) return Napi::Number::New(env, -EBADF);
  if (const int error = tap->Refresh(); error < 0) return Napi::Number::New(env, error);
  Napi::Object out = Napi::Object::New(env);
  out["name"] = tap->name;
  out["here"] = tap->IsHere();
  return out;
}

Napi::Object TapObject(Napi::Env env, const std::shared_ptr<TapDevice>& tap);

void Share(const std::shared_ptr<TapLimit>& limit, const std::shared_ptr<TapDevice>& queue) {
  queue->limit = limit;
  if (limit != nullptr) limit->Add(queue);
}

// Adds a queue of a device: from a stored descriptor, or opened anew.
Napi::Object AddQueue(const Napi::CallbackInfo& info, TapDevice* first) {
  const Napi::Env env = info.Env();
  const auto queue = std::make_shared<TapDevice>();
  const char* failed = info[0].IsNumber() ? Adopt(queue.get(), info[0].As<Napi::Number>().Int32Value())
                                          : CreateQueue(queue.get(), first);
  if (failed != nullptr) return Failure(env, failed);
  Share(first->limit, queue);
  return TapObject(env, queue);
}

// limit(bytes, ms): returns undefined, or which call failed.
Napi::Value Limit(const Napi::CallbackInfo& info, const TapDevice& tap) {
  const Napi::Env env = info.Env();
  errno = EBADF;
  const char* failed = "limit";
  if (tap.limit != nullptr) {
    const auto bytes = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    failed = tap.limit->Attach(tap.fd, bytes, info[1].As<Napi::Number>().Uint32Value());
  }
  return failed == nullptr ? env.Undefined() : Napi::Value(Failure(env, failed));
}

// Renews the limit for the next `ms`, and drops all charges if the queues are empty.
int RenewLimit(const TapDevice& tap, const Napi::Value& ms) {
  tap.limit->Renew(ms.As<Napi::Number>().Uint32Value());
  tap.limit->Settle();
  return 0;
}

}  // namespace

TapDevice::~TapDevice() {
  if (fd >= 0) close(fd);
}

int TapDevice::Refresh() {
  ifreq request{};
  if (ioctl(fd, TUNGETIFF, &request) < 0) return -errno;
  name = request.ifr_name;
  return 0;
}

bool TapDevice::IsHere() const {
  const int theirs = ioctl(fd, TUNGETDEVNETNS);
  if (theirs < 0) return errno == EINVAL || errno == ENOTTY;
  struct stat its {};
  struct stat own {};
  const bool known = fstat(theirs, &its) == 0 && stat("/proc/self/ns/net", &own) == 0;
  close(theirs);
  return !known || (its.st_dev == own.st_dev && its.st_ino == own.st_ino);
}

// TUNSETOFFLOAD sets the driver's own limit, and also overwrites wanted_features (tun.c, set_offload). So this function writes
// wanted_features back: they stay as the administrator set them, whatever each reader takes.
int TapDevice::SetOffloads(uint32_t takes, bool resumed) {
  if (const int error = Refresh(); error < 0) return error;
  const bool here = IsHere();
  const std::optional<Offloads> has = here ? OffloadsOf(name) : std::nullopt;
  if (has.has_value()) {
    uint32_t expected = takes & has->wanted;
    if ((expected & TUN_F_CSUM) == 0 || !has->scatter_gather) expected &= TUN_F_CSUM;
    // No change is needed, and TUNSETOFFLOAD would leave to the reader, for a moment, offloads that are switched off.
    if (resumed && has->active == expected) return 0;
  } else if (!here && (resumed || asked_ == takes)) {
    // In another network namespace nothing can be read, so the settings of this or an earlier process stay.
    return 0;
  }
  if (ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(takes)) < 0) return -errno;
  asked_ = takes;
  return has.has_value() && has->wanted != takes ? WantOffloads(name, has->wanted) : 0;
}

Napi::Value OpenTap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto tap = std::make_shared<TapDevice>();
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  const char* failed = info[1].IsNumber() ? Adopt(tap.get(), info[1].As<Napi::Number>().Int32Value())
                                          : Create(tap.get(), name, info[2].ToBoolean());
  if (failed != nullptr) return Failure(env, failed);
  Share(std::make_shared<TapLimit>(), tap);
  return TapObject(env, tap);
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
  Method(out, "setCarrier", tap, [](TapDevice& self, const Napi::Value& on) {
    return SetCarrier(&self, on.As<Napi::Boolean>().Value());
  });
  out["features"] = Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) {
    const bool known = tap->Refresh() == 0 && tap->IsHere();
    const std::vector<uint32_t> words = known ? WantedFeatures(tap->name) : std::vector<uint32_t>{};
    Napi::Uint32Array array = Napi::Uint32Array::New(call.Env(), words.size());
    std::copy(words.begin(), words.end(), array.Data());
    return array;
  });
  Method(out, "setFeatures", tap, [](TapDevice& self, const Napi::Value& words) {
    if (const int error = self.Refresh(); error < 0) return error;
    auto array = words.As<Napi::Uint32Array>();
    return WantFeatures(self.name, {array.Data(), array.Data() + array.ElementLength()});
  });
  out["limit"] = Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) { return Limit(call, *tap); });
  Method(out, "unlimit", tap, [](TapDevice& self, const Napi::Value&) { return TapLimit::Detach(self.fd); });
  Method(out, "renewLimit", tap, [](TapDevice& self, const Napi::Value& ms) { return RenewLimit(self, ms); });
  out["dropped"] = Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) {
    const uint64_t frames = tap->limit == nullptr ? 0 : tap->limit->dropped();
    return Napi::Number::New(call.Env(), static_cast<double>(frames));
  });
  Method(out, "close", tap, [](TapDevice& self, const Napi::Value&) {
    const int fd = self.fd;
    self.fd = -1;
    self.limit.reset();
    return close(fd) < 0 ? -errno : 0;
  });
  out["look"] = Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) { return Look(call.Env(), tap.get()); });
  out["start"] = Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) { return StartTap(call, tap); });
  out["addQueue"] =
      Napi::Function::New(env, [tap](const Napi::CallbackInfo& call) { return AddQueue(call, tap.get()); });
  return out;
}

}  // namespace

}  // namespace vifd
