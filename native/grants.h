// Other domains' pages, mapped.
#pragma once

#include <napi.h>

#include <memory>

#include "xenlib.h"

namespace vifd {

// One handle on /dev/xen/gntdev. It stays open until the last mapping that it made is gone, since unmapping needs it.
struct GrantTable {
  std::shared_ptr<XenLib> lib;
  GnttabHandle* handle;
  ~GrantTable() { lib->gnttab_close(handle); }
};

// Whether the granter is the cause of an errno of mapping. libxengnttab maps by an ioctl, which reads no grant, and an mmap, which Linux's
// gntdev fails with EINVAL for a reference that the hypervisor refuses; xensim fails with the same. All other errnos are the host's: no
// memory (ENOMEM), no room in a table (ENOSPC).
bool IsGranterFault(int error);

// -> { map(domid, refs, write), batch(..), staged(..) }, or -errno.
Napi::Value OpenGrants(Napi::Env env, const std::shared_ptr<XenLib>& lib);

}  // namespace vifd
