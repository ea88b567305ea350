// libxengnttab.so.1 in front of xensim's: the same functions, which fail when a test asks for it (fault.h).
#include <sys/mman.h>

#include "../abi.h"
#include "fault.h"

using xensim::faults::Fails;

namespace {

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(xensim::faults::Find("libxengnttab.so.1", name));
}

}  // namespace

// The parameters follow from the function's type.
#define REAL(name)                                      \
  static const auto real = Real<decltype(name)>(#name)

extern "C" {

XENSIM_EXPORT xengnttab_handle* xengnttab_open(xentoollog_logger* logger, unsigned flags) {
  REAL(xengnttab_open);
  return Fails("gnttab_open") ? nullptr : real(logger, flags);
}

XENSIM_EXPORT int xengnttab_close(xengnttab_handle* handle) {
  REAL(xengnttab_close);
  return real(handle);
}

XENSIM_EXPORT void* xengnttab_map_domain_grant_refs(xengnttab_handle* handle, uint32_t count, uint32_t domid,
                                                    uint32_t* refs, int prot) {
  REAL(xengnttab_map_domain_grant_refs);
  // Frames of a guest are mapped for reading, its buffers and rings for writing.
  const char* access = (prot & PROT_WRITE) != 0 ? "gnttab_map_write" : "gnttab_map_read";
  return Fails(access, domid) || Fails("gnttab_map", domid) ? nullptr : real(handle, count, domid, refs, prot);
}

// Pages that could not be unmapped stay mapped.
XENSIM_EXPORT int xengnttab_unmap(xengnttab_handle* handle, void* start, uint32_t count) {
  REAL(xengnttab_unmap);
  return Fails("gnttab_unmap") ? -1 : real(handle, start, count);
}

XENSIM_EXPORT int xengnttab_grant_copy(xengnttab_handle* handle, uint32_t count,
                                       xengnttab_grant_copy_segment_t* segments) {
  REAL(xengnttab_grant_copy);
  // One call concerns one guest, and one direction.
  const bool from = count > 0 && (segments[0].flags & xensim::copy_source_gref) != 0;
  const uint32_t domid = count == 0 ? 0 : from ? segments[0].source.foreign.domid : segments[0].dest.foreign.domid;
  const char* direction = from ? "gnttab_copy_from" : "gnttab_copy_to";
  return Fails(direction, domid) || Fails("gnttab_grant_copy", domid) ? -1 : real(handle, count, segments);
}

XENSIM_EXPORT xengntshr_handle* xengntshr_open(xentoollog_logger* logger, unsigned flags) {
  REAL(xengntshr_open);
  return Fails("gntshr_open") ? nullptr : real(logger, flags);
}

XENSIM_EXPORT int xengntshr_close(xengntshr_handle* handle) {
  REAL(xengntshr_close);
  return real(handle);
}

XENSIM_EXPORT void* xensim_allocate(xengntshr_handle* handle, uint32_t pages) {
  REAL(xensim_allocate);
  return Fails("gntshr_allocate") ? nullptr : real(handle, pages);
}

XENSIM_EXPORT int xensim_release(xengntshr_handle* handle, void* start, uint32_t pages) {
  REAL(xensim_release);
  return real(handle, start, pages);
}

XENSIM_EXPORT int64_t xensim_grant(xengntshr_handle* handle, const void* page, uint32_t domid, int writable) {
  REAL(xensim_grant);
  return Fails("gntshr_grant") ? -1 : real(handle, page, domid, writable);
}

XENSIM_EXPORT int xensim_end(xengntshr_handle* handle, uint32_t ref) {
  REAL(xensim_end);
  return real(handle, ref);
}

}  // extern "C"
