// Compares this addon's declarations of the Xen libraries with Debian's libxen-dev, where that is installed.
#include "xenlib.h"

#if __has_include(<xengnttab.h>) && __has_include(<xenevtchn.h>)

#include <cstddef>
#include <type_traits>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}

namespace vifd {

#define VIFD_SAME(member, function) \
  static_assert(std::is_same_v<decltype(XenLib::member), decltype(&::function)>, #function)

VIFD_SAME(gnttab_open, xengnttab_open);
VIFD_SAME(gnttab_close, xengnttab_close);
VIFD_SAME(gnttab_map_domain_grant_refs, xengnttab_map_domain_grant_refs);
VIFD_SAME(gnttab_unmap, xengnttab_unmap);
VIFD_SAME(gntshr_open, xengntshr_open);
VIFD_SAME(gntshr_close, xengntshr_close);
VIFD_SAME(evtchn_open, xenevtchn_open);
VIFD_SAME(evtchn_close, xenevtchn_close);
VIFD_SAME(evtchn_fd, xenevtchn_fd);
VIFD_SAME(evtchn_notify, xenevtchn_notify);
VIFD_SAME(evtchn_bind_unbound_port, xenevtchn_bind_unbound_port);
VIFD_SAME(evtchn_bind_interdomain, xenevtchn_bind_interdomain);
VIFD_SAME(evtchn_unbind, xenevtchn_unbind);
VIFD_SAME(evtchn_pending, xenevtchn_pending);
VIFD_SAME(evtchn_unmask, xenevtchn_unmask);
VIFD_SAME(evtchn_restrict, xenevtchn_restrict);
VIFD_SAME(evtchn_fdopen, xenevtchn_fdopen);

// The segment is a struct of ours, so grant_copy's type differs by name; its layout must not.
using Theirs = xengnttab_grant_copy_segment_t;
static_assert(sizeof(CopySegment) == sizeof(Theirs));
static_assert(offsetof(CopySegment, dest) == offsetof(Theirs, dest));
static_assert(offsetof(CopySegment, source.foreign.offset) == offsetof(Theirs, source.foreign.offset));
static_assert(offsetof(CopySegment, source.foreign.domid) == offsetof(Theirs, source.foreign.domid));
static_assert(offsetof(CopySegment, len) == offsetof(Theirs, len));
static_assert(offsetof(CopySegment, flags) == offsetof(Theirs, flags));
static_assert(offsetof(CopySegment, status) == offsetof(Theirs, status));
static_assert(GNTCOPY_SOURCE_GREF == GNTCOPY_source_gref && GNTCOPY_DEST_GREF == GNTCOPY_dest_gref);
static_assert(GNTST_OKAY == GNTST_okay && GNTST_GENERAL_ERROR == GNTST_general_error);
static_assert(GNTST_BAD_GNTREF == GNTST_bad_gntref && GNTST_BAD_COPY_ARG == GNTST_bad_copy_arg);

}  // namespace vifd

#endif
