// libxengnttab and libxenevtchn, opened at run time: the addon loads on machines that have neither, and the same
// binary works on Xen and on xensim (native/xensim), which has the same C ABI.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

// The tags that xengnttab.h and xenevtchn.h use; xenlib_check.cc compares with the headers where they are installed.
// The headers themselves are not needed to build, and lack `extern "C"`: functions called through them from C++
// would link by mangled names that no library has.
struct xentoollog_logger;
struct xengntdev_handle;
struct xenevtchn_handle;

namespace vifd {

using GnttabHandle = xengntdev_handle;
using EvtchnHandle = xenevtchn_handle;

// xengnttab_grant_copy_segment_t.
struct CopySegment {
  union Pointer {
    void* virt;
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

// xen/grant_table.h.
constexpr uint16_t GNTCOPY_SOURCE_GREF = 1;
constexpr uint16_t GNTCOPY_DEST_GREF = 2;
constexpr int32_t GNTST_OKAY = 0;
constexpr int32_t GNTST_GENERAL_ERROR = -1;
constexpr int32_t GNTST_BAD_GNTREF = -3;
constexpr int32_t GNTST_BAD_COPY_ARG = -10;

struct XenLib {
  // libxengnttab
  GnttabHandle* (*gnttab_open)(xentoollog_logger*, unsigned);
  int (*gnttab_close)(GnttabHandle*);
  void* (*gnttab_map_domain_grant_refs)(GnttabHandle*, uint32_t, uint32_t, uint32_t*, int);
  int (*gnttab_unmap)(GnttabHandle*, void*, uint32_t);
  // Since .so.1.1; nullptr in older ones.
  int (*gnttab_grant_copy)(GnttabHandle*, uint32_t, CopySegment*);
  // libxengnttab, the granting side. xengntshr_handle is the same struct.
  GnttabHandle* (*gntshr_open)(xentoollog_logger*, unsigned);
  int (*gntshr_close)(GnttabHandle*);
  // libxenevtchn
  EvtchnHandle* (*evtchn_open)(xentoollog_logger*, unsigned);
  // Since .so.1.2 (Xen 4.15); nullptr in older ones.
  EvtchnHandle* (*evtchn_fdopen)(xentoollog_logger*, int, unsigned);
  int (*evtchn_close)(EvtchnHandle*);
  int (*evtchn_fd)(EvtchnHandle*);
  int (*evtchn_notify)(EvtchnHandle*, uint32_t);
  int (*evtchn_bind_unbound_port)(EvtchnHandle*, uint32_t);
  int (*evtchn_bind_interdomain)(EvtchnHandle*, uint32_t, uint32_t);
  int (*evtchn_unbind)(EvtchnHandle*, uint32_t);
  int (*evtchn_pending)(EvtchnHandle*);
  int (*evtchn_unmask)(EvtchnHandle*, uint32_t);
  int (*evtchn_restrict)(EvtchnHandle*, uint16_t);
  // Functions that xensim adds; nullptr on a real Xen, whose gntalloc cannot grant a page that exists already.
  void* (*sim_allocate)(GnttabHandle*, uint32_t pages);
  int (*sim_release)(GnttabHandle*, void* start, uint32_t pages);
  int64_t (*sim_grant)(GnttabHandle*, const void* page, uint32_t domid, int writable);
  int (*sim_end)(GnttabHandle*, uint32_t ref);

  bool CanShare() const { return sim_allocate && sim_release && sim_grant && sim_end; }

  // Opens both libraries, in `directory`, or where the system has them if that is empty. On failure returns nullptr, and sets `library` to
  // the name of the library and `reason` to the message of dlopen or dlsym.
  static std::shared_ptr<XenLib> Load(const std::string& directory, std::string* library, std::string* reason);
};

// A logger that writes nothing: the libraries' own writes to stderr for each map of a guest's page that fails.
xentoollog_logger* SilentLogger();

// loadXen(directory | undefined) -> { grantCopy, openGrants(), openEvents(..), domainExists(..), openShares() } | { library, reason }
Napi::Value LoadXen(const Napi::CallbackInfo& info);

}  // namespace vifd
