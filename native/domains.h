// Asks the hypervisor by libxenctrl whether a domain exists: dom0 learns so that a guest is gone while xenstored, which reports it otherwise,
// is away. Optional: without the library, or outside of dom0, the result is unknown.
//
// libxenctrl has no stable ABI: its soname has Xen's version. This uses three functions that have not changed since Xen 4.1
// (tools/include/xenctrl.h), and of their result the first two fields, which have not changed either (xen/domctl.h).
#pragma once

#include <cstdint>
#include <string>

struct xentoollog_logger;
// `xc_interface` is a typedef of it.
struct xc_interface_core;

namespace vifd {

// The beginning of struct xen_domctl_getdomaininfo, and room for all that any version writes behind it.
struct alignas(64) DomainInfo {
  uint16_t domid;
  uint16_t pad1;
  uint32_t flags;
  char rest[4096 - 8];
};

constexpr uint32_t DOMINF_DYING = 1;

struct CtrlLib {
  xc_interface_core* (*interface_open)(xentoollog_logger*, xentoollog_logger*, unsigned);
  int (*interface_close)(xc_interface_core*);
  int (*domain_getinfolist)(xc_interface_core*, uint32_t first, unsigned most, DomainInfo*);
};

class Domains {
 public:
  // `directory`: that of libxengnttab. The first question opens libxenctrl from there.
  explicit Domains(std::string directory) : directory_(std::move(directory)) {}
  ~Domains();
  Domains(const Domains&) = delete;
  Domains& operator=(const Domains&) = delete;

  // Returns 1 or 0, or -errno if that cannot be determined. A dying domain counts as gone, because its end may be waiting for this process to
  // unmap its pages.
  int Exists(uint32_t domid);

 private:
  int Open();
  int Try(const std::string& path);
  int Ask(uint32_t domid);

  std::string directory_;
  CtrlLib lib_ = {};
  xc_interface_core* interface_ = nullptr;
};

}  // namespace vifd
