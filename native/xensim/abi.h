// The C interface of libxengnttab.so.1 and libxenevtchn.so.1, declared here so that xensim builds on
// machines without Xen's headers, and the extensions that a frontend needs. abi_check.cc compares the
// declarations with the real headers where those are installed.
#pragma once

#include <cstdint>

// Comes with Xen's own headers when they are used; defined here otherwise.
#ifdef XENSIM_REAL_HEADERS
// The headers have no extern "C" of their own, and must not drag C++ headers into one.
#include <stdint.h>
extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}
#else

struct xentoollog_logger;
// libxengnttab has one handle type for both sides (tools/include/xengnttab.h).
struct xengntdev_handle;
struct xenevtchn_handle;
typedef struct xengntdev_handle xengnttab_handle;
typedef struct xengntdev_handle xengntshr_handle;
typedef uint32_t evtchn_port_t;
typedef uint16_t domid_t;
typedef int xenevtchn_port_or_error_t;

struct xengnttab_grant_copy_segment {
  union xengnttab_copy_ptr {
    void *virt;
    struct {
      uint32_t ref;
      uint16_t offset;
      uint16_t domid;
    } foreign;
  } source, dest;
  uint16_t len;
  uint16_t flags;
  int16_t status;
};
typedef struct xengnttab_grant_copy_segment xengnttab_grant_copy_segment_t;

extern "C" {
xengnttab_handle *xengnttab_open(xentoollog_logger *logger, unsigned open_flags);
int xengnttab_close(xengnttab_handle *xgt);
int xengnttab_fd(xengnttab_handle *xgt);
void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot);
void *xengnttab_map_grant_refs(xengnttab_handle *xgt, uint32_t count, uint32_t *domids, uint32_t *refs, int prot);
void *xengnttab_map_domain_grant_refs(xengnttab_handle *xgt, uint32_t count, uint32_t domid, uint32_t *refs, int prot);
void *xengnttab_map_grant_ref_notify(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot,
                                     uint32_t notify_offset, evtchn_port_t notify_port);
int xengnttab_unmap(xengnttab_handle *xgt, void *start_address, uint32_t count);
int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t nr_grants);
int xengnttab_grant_copy(xengnttab_handle *xgt, uint32_t count, xengnttab_grant_copy_segment_t *segs);

xengntshr_handle *xengntshr_open(xentoollog_logger *logger, unsigned open_flags);
int xengntshr_close(xengntshr_handle *xgs);
int xengntshr_fd(xengntshr_handle *xgs);
void *xengntshr_share_pages(xengntshr_handle *xgs, uint32_t domid, int count, uint32_t *refs, int writable);
void *xengntshr_share_page_notify(xengntshr_handle *xgs, uint32_t domid, uint32_t *ref, int writable,
                                  uint32_t notify_offset, evtchn_port_t notify_port);
int xengntshr_unshare(xengntshr_handle *xgs, void *start_address, uint32_t count);

xenevtchn_handle *xenevtchn_open(xentoollog_logger *logger, unsigned flags);
xenevtchn_handle *xenevtchn_fdopen(xentoollog_logger *logger, int fd, unsigned open_flags);
int xenevtchn_close(xenevtchn_handle *xce);
int xenevtchn_fd(xenevtchn_handle *xce);
int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port);
xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *xce, uint32_t domid);
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t remote_port);
xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned virq);
int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port);
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce);
int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port);
int xenevtchn_restrict(xenevtchn_handle *xce, domid_t domid);
}
#endif

// Extensions to the real libraries: Linux's netfront grants and ends a page for every frame, and libxengnttab can only allocate and grant in
// one step. All return NULL or -1 with errno on failure.
extern "C" {
// Contiguous zeroed pages of this domain, none granted yet. ENOMEM when no run of that length is free.
void *xensim_allocate(xengntshr_handle *xgs, uint32_t pages);
// Frees pages and ends their grants. A page that a peer still maps stays for the peer, and not for this process, until it is unmapped.
int xensim_release(xengntshr_handle *xgs, void *start_address, uint32_t pages);
// Grants the page that holds `page`. A page may be granted many times. ENOSPC when no reference is free.
int64_t xensim_grant(xengntshr_handle *xgs, const void *page, uint32_t domid, int writable);
// EBUSY while a peer has the page mapped; the grant then stands. EINVAL when it is not a grant of this handle.
int xensim_end(xengntshr_handle *xgs, uint32_t ref);
}

namespace xensim {

// xen/include/public/grant_table.h. Named apart from its macros, so that both can be included.
constexpr uint16_t copy_source_gref = 1 << 0;
constexpr uint16_t copy_dest_gref = 1 << 1;
constexpr int16_t status_okay = 0;
constexpr int16_t status_general_error = -1;
constexpr int16_t status_bad_domain = -2;
constexpr int16_t status_bad_gntref = -3;
constexpr int16_t status_bad_copy_arg = -10;

// tools/include/xenevtchn.h
constexpr unsigned evtchn_no_cloexec = 1 << 0;

}  // namespace xensim
