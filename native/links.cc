#include "links.h"

#include <sys/socket.h>
// Behind sys/socket.h: both define struct sockaddr's relatives, and only this order compiles.
#include <linux/if.h>
#include <linux/if_link.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "netlink.h"

namespace vifd {

namespace {

// Linux 4.4. Counters are half of a message, and only Dropped() needs them.
constexpr uint32_t kSkipStatistics = 1 << 3;
#ifndef IFLA_BRPORT_ISOLATED
constexpr uint16_t IFLA_BRPORT_ISOLATED = 33;
#endif

// The settings that decide which frames cross a bridge's port, by their names in sysfs (net/bridge/br_sysfs_if.c). Costs and priorities
// follow from the driver's speed, so they are not here.
constexpr struct {
  const char* name;
  uint16_t attribute;
} kPortFlags[] = {
    {"isolated", IFLA_BRPORT_ISOLATED},       {"learning", IFLA_BRPORT_LEARNING},
    {"unicast_flood", IFLA_BRPORT_UNICAST_FLOOD}, {"multicast_flood", IFLA_BRPORT_MCAST_FLOOD},
    {"broadcast_flood", IFLA_BRPORT_BCAST_FLOOD}, {"hairpin_mode", IFLA_BRPORT_MODE},
    {"bpdu_guard", IFLA_BRPORT_GUARD},        {"root_block", IFLA_BRPORT_PROTECT},
};

using Socket = std::shared_ptr<NetlinkSocket>;

std::string Text(const rtattr* attribute) {
  const auto* text = static_cast<const char*>(RTA_DATA(attribute));
  return {text, strnlen(text, RTA_PAYLOAD(attribute))};
}

// Returns 0 if the kernel's attribute is shorter than a word.
uint32_t Word(const rtattr* attribute) {
  uint32_t value = 0;
  if (RTA_PAYLOAD(attribute) >= sizeof value) memcpy(&value, RTA_DATA(attribute), sizeof value);
  return value;
}

void EachNested(const rtattr* nest, const std::function<void(uint16_t, const rtattr*)>& call) {
  EachAttribute(static_cast<const rtattr*>(RTA_DATA(nest)), RTA_PAYLOAD(nest), call);
}

// Sets `port` and `portState` of `link`.
void ReadPort(const rtattr* nest, Napi::Object* link) {
  Napi::Object out = Napi::Object::New(link->Env());
  EachNested(nest, [&](uint16_t type, const rtattr* attribute) {
    if (type == IFLA_BRPORT_STATE && RTA_PAYLOAD(attribute) >= 1)
      (*link)["portState"] = static_cast<double>(*static_cast<const uint8_t*>(RTA_DATA(attribute)));
    for (const auto& [name, known] : kPortFlags) {
      if (type == known && RTA_PAYLOAD(attribute) >= 1)
        out[name] = static_cast<double>(*static_cast<const uint8_t*>(RTA_DATA(attribute)));
    }
  });
  (*link)["port"] = out;
}

void ReadLinkInfo(const rtattr* info, Napi::Object* out) {
  const rtattr* data = nullptr;
  std::string master_kind;
  EachNested(info, [&](uint16_t type, const rtattr* attribute) {
    if (type == IFLA_INFO_KIND) (*out)["kind"] = Text(attribute);
    if (type == IFLA_INFO_SLAVE_KIND) master_kind = Text(attribute);
    if (type == IFLA_INFO_SLAVE_DATA) data = attribute;
  });
  (*out)["masterKind"] = master_kind;
  if (master_kind == "bridge" && data != nullptr) ReadPort(data, out);
}

std::string Address(const rtattr* attribute) {
  std::string out;
  const auto* bytes = static_cast<const uint8_t*>(RTA_DATA(attribute));
  for (size_t i = 0; i < RTA_PAYLOAD(attribute); i++) {
    char digits[4];
    snprintf(digits, sizeof digits, i == 0 ? "%02x" : ":%02x", bytes[i]);
    out += digits;
  }
  return out;
}

// Returns undefined for a message that is not about an interface.
Napi::Value ReadLink(Napi::Env env, const nlmsghdr* header) {
  const bool gone = header->nlmsg_type == RTM_DELLINK;
  if ((header->nlmsg_type != RTM_NEWLINK && !gone) || header->nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg)))
    return env.Undefined();
  const auto* link = static_cast<const ifinfomsg*>(NLMSG_DATA(header));
  Napi::Object out = Napi::Object::New(env);
  out["index"] = static_cast<double>(link->ifi_index);
  const size_t bytes = header->nlmsg_len - NLMSG_LENGTH(sizeof(ifinfomsg));
  if (link->ifi_family == AF_BRIDGE) {
    // The message is about the interface's port alone: for an interface that leaves its bridge the kernel sends RTM_DELLINK too.
    if (gone) return env.Undefined();
    out["event"] = "port";
    EachAttribute(IFLA_RTA(link), bytes, [&](uint16_t type, const rtattr* attribute) {
      if (type == IFLA_PROTINFO) ReadPort(attribute, &out);
    });
    return out;
  }
  if (link->ifi_family != AF_UNSPEC) return env.Undefined();
  out["event"] = gone ? "gone" : "link";
  out["up"] = (link->ifi_flags & IFF_UP) != 0;
  out["carrier"] = (link->ifi_flags & IFF_LOWER_UP) != 0;
  out["running"] = (link->ifi_flags & IFF_RUNNING) != 0;
  out["name"] = "";
  out["alias"] = "";
  out["kind"] = "";
  out["mac"] = "";
  out["mtu"] = 0;
  out["queueFrames"] = 0;
  out["master"] = 0;
  out["masterKind"] = "";
  EachAttribute(IFLA_RTA(link), bytes, [&](uint16_t type, const rtattr* attribute) {
    if (type == IFLA_IFNAME) out["name"] = Text(attribute);
    if (type == IFLA_IFALIAS) out["alias"] = Text(attribute);
    if (type == IFLA_ADDRESS) out["mac"] = Address(attribute);
    if (type == IFLA_MTU) out["mtu"] = static_cast<double>(Word(attribute));
    if (type == IFLA_TXQLEN) out["queueFrames"] = static_cast<double>(Word(attribute));
    if (type == IFLA_MASTER) out["master"] = static_cast<double>(Word(attribute));
    if (type == IFLA_LINKINFO) ReadLinkInfo(attribute, &out);
  });
  return out;
}

Napi::Value Get(const Socket& socket, Napi::Env env, const Napi::Value& which) {
  LinkMessage request(RTM_GETLINK, 0, which.IsNumber() ? which.As<Napi::Number>().Int32Value() : 0);
  if (which.IsString()) request.Put(IFLA_IFNAME, which.As<Napi::String>().Utf8Value());
  request.PutWord(IFLA_EXT_MASK, kSkipStatistics);
  Napi::Value found = env.Undefined();
  const int error = socket->Ask(&request, [&](const nlmsghdr* header) {
    if (const Napi::Value link = ReadLink(env, header); link.IsObject()) found = link;
  });
  if (error == -ENODEV) return env.Undefined();
  if (error == 0) return found;
  return Napi::Number::New(env, error);
}

// Returns -errno on failure, also if the interface does not exist.
double Dropped(const Socket& socket, int index) {
  LinkMessage request(RTM_GETLINK, 0, index);
  double dropped = 0;
  const int error = socket->Ask(&request, [&](const nlmsghdr* header) {
    if (header->nlmsg_type != RTM_NEWLINK || header->nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) return;
    const auto* link = static_cast<const ifinfomsg*>(NLMSG_DATA(header));
    EachAttribute(IFLA_RTA(link), header->nlmsg_len - NLMSG_LENGTH(sizeof *link), [&](uint16_t type, const rtattr* attribute) {
      rtnl_link_stats64 counts{};
      if (type != IFLA_STATS64 || RTA_PAYLOAD(attribute) < offsetof(rtnl_link_stats64, tx_dropped) + sizeof counts.tx_dropped)
        return;
      memcpy(&counts, RTA_DATA(attribute), std::min<size_t>(RTA_PAYLOAD(attribute), sizeof counts));
      dropped = static_cast<double>(counts.tx_dropped);
    });
  });
  return error < 0 ? error : dropped;
}

Napi::Value List(const Socket& socket, Napi::Env env) {
  LinkMessage request(RTM_GETLINK, NLM_F_DUMP, 0);
  request.PutWord(IFLA_EXT_MASK, kSkipStatistics);
  Napi::Array out = Napi::Array::New(env);
  uint32_t count = 0;
  uint32_t sequence = 0;
  const int error = socket->Ask(&request, [&](const nlmsghdr* header) {
    // The list changed while it was read, and is read again from its beginning.
    if (header->nlmsg_seq != sequence) {
      sequence = header->nlmsg_seq;
      out = Napi::Array::New(env);
      count = 0;
    }
    if (const Napi::Value link = ReadLink(env, header); link.IsObject()) out[count++] = link;
  });
  // The list still changed during the last attempt. The caller follows changes, or reads the list again.
  if (error == 0 || error == -EINTR) return out;
  return Napi::Number::New(env, error);
}

// Makes one change, the only one in `changes`, so that an error belongs to that one.
int Set(const Socket& socket, int index, const Napi::Object& changes) {
  LinkMessage request(RTM_SETLINK, 0, index);
  if (changes.Has("up")) {
    request.link()->ifi_change = IFF_UP;
    request.link()->ifi_flags = changes.Get("up").ToBoolean() ? IFF_UP : 0;
  }
  if (changes.Has("mtu")) request.PutWord(IFLA_MTU, changes.Get("mtu").As<Napi::Number>().Uint32Value());
  if (changes.Has("queueFrames"))
    request.PutWord(IFLA_TXQLEN, changes.Get("queueFrames").As<Napi::Number>().Uint32Value());
  if (changes.Has("master")) request.PutWord(IFLA_MASTER, changes.Get("master").As<Napi::Number>().Uint32Value());
  if (changes.Has("alias")) request.Put(IFLA_IFALIAS, changes.Get("alias").As<Napi::String>().Utf8Value());
  if (changes.Has("name")) request.Put(IFLA_IFNAME, changes.Get("name").As<Napi::String>().Utf8Value());
  if (changes.Has("mac")) {
    const auto mac = changes.Get("mac").As<Napi::Uint8Array>();
    request.Put(IFLA_ADDRESS, mac.Data(), mac.ElementLength());
  }
  return socket->Ask(&request);
}

int SetPort(const Socket& socket, int index, const Napi::Object& flags) {
  LinkMessage request(RTM_SETLINK, 0, index, AF_BRIDGE);
  const size_t nest = request.BeginNest(IFLA_PROTINFO);
  for (const auto& [name, attribute] : kPortFlags) {
    if (flags.Has(name))
      request.PutByte(attribute, static_cast<uint8_t>(flags.Get(name).As<Napi::Number>().Uint32Value()));
  }
  request.EndNest(nest);
  return socket->Ask(&request);
}

int Remove(const Socket& socket, int index) {
  LinkMessage request(RTM_DELLINK, 0, index);
  return socket->Ask(&request);
}

void Method(Napi::Object out, const char* name, std::function<Napi::Value(const Napi::CallbackInfo&)> call) {
  out[name] = Napi::Function::New(out.Env(), std::move(call), name);
}

int IndexIn(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

}  // namespace

Napi::Value OpenLinks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Socket socket = std::make_shared<NetlinkSocket>();
  if (const int error = socket->Open(0); error < 0) return Napi::Number::New(env, error);
  Napi::Object out = Napi::Object::New(env);
  Method(out, "get", [socket](const Napi::CallbackInfo& call) { return Get(socket, call.Env(), call[0]); });
  Method(out, "list", [socket](const Napi::CallbackInfo& call) { return List(socket, call.Env()); });
  Method(out, "set", [socket](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), Set(socket, IndexIn(call), call[1].As<Napi::Object>()));
  });
  Method(out, "setPort", [socket](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), SetPort(socket, IndexIn(call), call[1].As<Napi::Object>()));
  });
  Method(out, "dropped", [socket](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), Dropped(socket, IndexIn(call)));
  });
  Method(out, "remove", [socket](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), Remove(socket, IndexIn(call)));
  });
  Method(out, "reason", [socket](const Napi::CallbackInfo& call) {
    return Napi::String::New(call.Env(), socket->reason());
  });
  Method(out, "close", [socket](const Napi::CallbackInfo& call) {
    socket->Close();
    return call.Env().Undefined();
  });
  return out;
}

Napi::Value FollowLinks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Socket socket = std::make_shared<NetlinkSocket>();
  if (const int error = socket->Open(RTNLGRP_LINK); error < 0) return Napi::Number::New(env, error);
  Napi::Object out = Napi::Object::New(env);
  out["descriptor"] = socket->fd();
  Method(out, "take", [socket](const Napi::CallbackInfo& call) -> Napi::Value {
    Napi::Array events = Napi::Array::New(call.Env());
    uint32_t count = 0;
    const int error = socket->Take([&](const nlmsghdr* header) {
      if (const Napi::Value link = ReadLink(call.Env(), header); link.IsObject()) events[count++] = link;
    });
    if (error == 0) return events;
    return Napi::Number::New(call.Env(), error);
  });
  Method(out, "close", [socket](const Napi::CallbackInfo& call) {
    socket->Close();
    return call.Env().Undefined();
  });
  return out;
}

}  // namespace vifd
