// Compares this addon's declarations of libxenctrl with Debian's libxen-dev, where that is installed.
#include "domains.h"

#if __has_include(<xenctrl.h>)

// Without this macro the headers refuse programs outside of Xen's tools.
#define __XEN_TOOLS__ 1

#include <cstddef>
#include <type_traits>

extern "C" {
#include <xenctrl.h>
}

namespace vifd {

static_assert(std::is_same_v<decltype(CtrlLib::interface_open), decltype(&::xc_interface_open)>);
static_assert(std::is_same_v<decltype(CtrlLib::interface_close), decltype(&::xc_interface_close)>);
// Its last argument is our own struct, which is read only at its beginning.
static_assert(std::is_same_v<int (*)(xc_interface_core*, uint32_t, unsigned, xc_domaininfo_t*),
                             decltype(&::xc_domain_getinfolist)>);
static_assert(offsetof(DomainInfo, domid) == offsetof(xc_domaininfo_t, domain));
static_assert(sizeof(DomainInfo::domid) == sizeof(xc_domaininfo_t::domain));
static_assert(offsetof(DomainInfo, flags) == offsetof(xc_domaininfo_t, flags));
static_assert(sizeof(DomainInfo::flags) == sizeof(xc_domaininfo_t::flags));
static_assert(sizeof(DomainInfo) > sizeof(xc_domaininfo_t));
static_assert(DOMINF_DYING == XEN_DOMINF_dying);

}  // namespace vifd

#endif
