// The module's exports; lib/addon.ts declares them for TypeScript. The locks of files are the only global state, and belong to the process:
// each worker thread loads the addon once, and every object stores what it needs itself.
#include <napi.h>

#include "confine.h"
#include "descriptors.h"
#include "file_pages.h"
#include "layout.h"
#include "links.h"
#include "liveness.h"
#include "lock.h"
#include "memory.h"
#include "notify.h"
#include "output.h"
#include "tap.h"
#include "unix.h"
#include "watch.h"
#include "xenlib.h"

namespace {

Napi::Value Layout(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
#define VIFD_LAYOUT_PROPERTY(name, value) out[#name] = static_cast<double>(value);
  VIFD_LAYOUT(VIFD_LAYOUT_PROPERTY)
#undef VIFD_LAYOUT_PROPERTY
  return out;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports["layout"] = Napi::Function::New(env, Layout, "layout");
  exports["useErrors"] = Napi::Function::New(env, vifd::UseErrors, "useErrors");
  exports["arena"] = Napi::Function::New(env, vifd::NewArena, "arena");
  exports["mapFile"] = Napi::Function::New(env, vifd::MapFile, "mapFile");
  exports["lockFile"] = Napi::Function::New(env, vifd::LockFile, "lockFile");
  exports["lockHolder"] = Napi::Function::New(env, vifd::LockHolder, "lockHolder");
  exports["lockStands"] = Napi::Function::New(env, vifd::LockStands, "lockStands");
  exports["unlockFile"] = Napi::Function::New(env, vifd::UnlockFile, "unlockFile");
  exports["loadXen"] = Napi::Function::New(env, vifd::LoadXen, "loadXen");
  exports["openTap"] = Napi::Function::New(env, vifd::OpenTap, "openTap");
  exports["sendDatagram"] = Napi::Function::New(env, vifd::SendDatagram, "sendDatagram");
  exports["bindDatagrams"] = Napi::Function::New(env, vifd::BindDatagrams, "bindDatagrams");
  exports["duplicateDescriptor"] = Napi::Function::New(env, vifd::DuplicateDescriptor, "duplicateDescriptor");
  exports["socketPair"] = Napi::Function::New(env, vifd::SocketPair, "socketPair");
  exports["sendMessage"] = Napi::Function::New(env, vifd::SendMessage, "sendMessage");
  exports["receiveMessage"] = Napi::Function::New(env, vifd::ReceiveMessage, "receiveMessage");
  exports["connectUnix"] = Napi::Function::New(env, vifd::ConnectUnix, "connectUnix");
  exports["writeNow"] = Napi::Function::New(env, vifd::WriteNow, "writeNow");
  exports["endProcess"] = Napi::Function::New(env, vifd::EndProcess, "endProcess");
  exports["openLinks"] = Napi::Function::New(env, vifd::OpenLinks, "openLinks");
  exports["followLinks"] = Napi::Function::New(env, vifd::FollowLinks, "followLinks");
  exports["makeLiveness"] = Napi::Function::New(env, vifd::MakeLiveness, "makeLiveness");
  exports["holdLiveness"] = Napi::Function::New(env, vifd::HoldLiveness, "holdLiveness");
  exports["watchLiveness"] = Napi::Function::New(env, vifd::WatchLiveness, "watchLiveness");
  exports["openProcess"] = Napi::Function::New(env, vifd::OpenProcess, "openProcess");
  exports["startConfined"] = Napi::Function::New(env, vifd::StartConfined, "startConfined");
  exports["confine"] = Napi::Function::New(env, vifd::Confine, "confine");
  exports["watch"] = Napi::Function::New(env, vifd::Watch, "watch");
  return exports;
}

}  // namespace

NODE_API_MODULE(vifd, Init)
