// Compares abi.h with Xen's own headers where they are installed. Nothing here runs.
#include "abi.h"

#include <cstddef>
#include <type_traits>

static_assert(sizeof(xengnttab_grant_copy_segment_t) == 24, "grant copy segment");
static_assert(offsetof(xengnttab_grant_copy_segment_t, dest) == 8, "grant copy segment");
static_assert(offsetof(xengnttab_grant_copy_segment_t, len) == 16, "grant copy segment");
static_assert(offsetof(xengnttab_grant_copy_segment_t, status) == 20, "grant copy segment");

#if __has_include(<xengnttab.h>) && __has_include(<xenevtchn.h>)
#include <stdint.h>
// At global scope first: their include guards then keep them out of the namespace below.
#include <xen/event_channel.h>
#include <xen/grant_table.h>

// The headers lack extern "C", so inside a namespace they declare functions of their own, which can be
// compared with ours. `struct xengntdev_handle` in them still finds the global type.
namespace real {
#include <xenevtchn.h>
#include <xengnttab.h>
}  // namespace real

namespace {

// Compares two types: they are equal, or one is the declaration of the other in this namespace.
template <typename Real, typename Ours>
struct same : std::is_same<Real, Ours> {};
template <>
struct same<real::xentoollog_logger *, xentoollog_logger *> : std::true_type {};
template <>
struct same<real::xengnttab_grant_copy_segment_t *, xengnttab_grant_copy_segment_t *> : std::true_type {};
template <typename RealResult, typename... Real, typename OurResult, typename... Ours>
struct same<RealResult(Real...), OurResult(Ours...)>
    : std::bool_constant<sizeof...(Real) == sizeof...(Ours) &&
                         std::conjunction_v<same<RealResult, OurResult>, same<Real, Ours>...>> {};

#define CHECK_FUNCTION(name) static_assert(same<decltype(real::name), decltype(::name)>::value, #name)
CHECK_FUNCTION(xengnttab_open);
CHECK_FUNCTION(xengnttab_close);
CHECK_FUNCTION(xengnttab_fd);
CHECK_FUNCTION(xengnttab_map_grant_ref);
CHECK_FUNCTION(xengnttab_map_grant_refs);
CHECK_FUNCTION(xengnttab_map_domain_grant_refs);
CHECK_FUNCTION(xengnttab_map_grant_ref_notify);
CHECK_FUNCTION(xengnttab_unmap);
CHECK_FUNCTION(xengnttab_set_max_grants);
CHECK_FUNCTION(xengnttab_grant_copy);
CHECK_FUNCTION(xengntshr_open);
CHECK_FUNCTION(xengntshr_close);
CHECK_FUNCTION(xengntshr_fd);
CHECK_FUNCTION(xengntshr_share_pages);
CHECK_FUNCTION(xengntshr_share_page_notify);
CHECK_FUNCTION(xengntshr_unshare);
CHECK_FUNCTION(xenevtchn_open);
CHECK_FUNCTION(xenevtchn_fdopen);
CHECK_FUNCTION(xenevtchn_close);
CHECK_FUNCTION(xenevtchn_fd);
CHECK_FUNCTION(xenevtchn_notify);
CHECK_FUNCTION(xenevtchn_bind_unbound_port);
CHECK_FUNCTION(xenevtchn_bind_interdomain);
CHECK_FUNCTION(xenevtchn_bind_virq);
CHECK_FUNCTION(xenevtchn_unbind);
CHECK_FUNCTION(xenevtchn_pending);
CHECK_FUNCTION(xenevtchn_unmask);
CHECK_FUNCTION(xenevtchn_restrict);

using RealSegment = real::xengnttab_grant_copy_segment_t;
using Segment = xengnttab_grant_copy_segment_t;
#define CHECK_FIELD(field) static_assert(offsetof(RealSegment, field) == offsetof(Segment, field), #field)
static_assert(sizeof(RealSegment) == sizeof(Segment), "grant copy segment");
CHECK_FIELD(source);
CHECK_FIELD(source.foreign.ref);
CHECK_FIELD(source.foreign.offset);
CHECK_FIELD(source.foreign.domid);
CHECK_FIELD(dest);
CHECK_FIELD(len);
CHECK_FIELD(flags);
CHECK_FIELD(status);

static_assert(GNTCOPY_source_gref == xensim::copy_source_gref, "flag");
static_assert(GNTCOPY_dest_gref == xensim::copy_dest_gref, "flag");
static_assert(GNTST_okay == xensim::status_okay, "status");
static_assert(GNTST_general_error == xensim::status_general_error, "status");
static_assert(GNTST_bad_domain == xensim::status_bad_domain, "status");
static_assert(GNTST_bad_gntref == xensim::status_bad_gntref, "status");
static_assert(GNTST_bad_copy_arg == xensim::status_bad_copy_arg, "status");
static_assert(XENEVTCHN_NO_CLOEXEC == xensim::evtchn_no_cloexec, "flag");

}  // namespace
#endif
