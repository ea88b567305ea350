// Other domains' pages, mapped.
#pragma once

#include <napi.h>

#include <memory>

#include "xenlib.h"

namespace vifd {

// One handle on /dev/xen/gntdev. It stays open until the last mapping made with it is gone: unmapping needs it.
struct GrantTable {
  std::shared_ptr<XenLib> lib;
  GnttabHandle* handle;
  ~GrantTable() { lib->gnttab_close(handle); }
};

// -> { map(domid, refs, write), batch(..), staged(..) }, or -errno.
Napi::Value OpenGrants(Napi::Env env, const std::shared_ptr<XenLib>& lib);

}  // namespace vifd
