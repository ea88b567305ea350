// The part of libxenctrl that vifd uses: which domains exist. libxenctrl has no stable ABI and no symbol versions.

#include <cstring>

#include "handle.h"

// The beginning of struct xen_domctl_getdomaininfo (xen/domctl.h), which callers read; the rest stays zero.
struct xensim_domain_info {
  uint16_t domain;
  uint16_t pad1;
  uint32_t flags;
};

struct xc_interface_core {
  std::unique_ptr<xensim::Host> host;
};

namespace {

// Returns the first existing domain from `first` on, or domid_self. A domain exists while one of its processes has an open handle.
uint32_t next_domain(xensim::Host &host, uint32_t first) {
  uint32_t found = xensim::domid_self;
  xensim::Lock lock(host);
  host.reap_dead();
  for (const xensim::Session &session : host.state().sessions)
    if (session.used.load() && session.domid >= first && session.domid < found) found = session.domid;
  return found;
}

}  // namespace

extern "C" {

XENSIM_EXPORT xc_interface_core *xc_interface_open(xentoollog_logger *, xentoollog_logger *, unsigned) {
  std::unique_ptr<xensim::Host> host = xensim::Host::open(true);
  return host ? new xc_interface_core{std::move(host)} : nullptr;
}

XENSIM_EXPORT int xc_interface_close(xc_interface_core *xch) {
  delete xch;
  return 0;
}

XENSIM_EXPORT int xc_domain_getinfolist(xc_interface_core *xch, uint32_t first, unsigned most, xensim_domain_info *info) {
  // As XSM decides: only the control domain may ask.
  if (xch->host->domid() != 0) return xensim::fail(EPERM);
  if (most == 0) return 0;
  const uint32_t found = next_domain(*xch->host, first);
  if (found == xensim::domid_self) return 0;
  *info = {uint16_t(found), 0, 0};
  return 1;
}
}
