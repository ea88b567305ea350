// Pages of this process, granted to other domains, as a frontend on xensim does.
#pragma once

#include <napi.h>

#include <memory>

#include "xenlib.h"

namespace vifd {

// -> { allocate(pages) }, or -errno. Only where the library can share (XenLib::CanShare).
Napi::Value OpenShares(Napi::Env env, const std::shared_ptr<XenLib>& lib);

}  // namespace vifd
