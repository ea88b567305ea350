#include "xen.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>

#include "netif.h"

namespace bench {

namespace {

template <typename Function>
void Resolve(void* library, Function*& function, const char* name) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr) throw std::runtime_error(std::string("libxengnttab has no ") + name);
}

}  // namespace

Grants::Grants(const std::string& directory, uint16_t domid) : domid_(domid) {
  const std::string path = (directory.empty() ? "" : directory + "/") + "libxengnttab.so.1";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  xengntdev_handle* (*open)(xentoollog_logger*, unsigned);
  Resolve(library, open, "xengnttab_open");
  Resolve(library, close_, "xengnttab_close");
  Resolve(library, map_, "xengnttab_map_domain_grant_refs");
  Resolve(library, unmap_, "xengnttab_unmap");
  Resolve(library, copy_, "xengnttab_grant_copy");
  handle_ = open(nullptr, 0);
  if (handle_ == nullptr) throw std::runtime_error(std::string("xengnttab_open: ") + strerror(errno));
}

Grants::~Grants() {
  for (void* page : mapped_) unmap_(handle_, page, 1);
  close_(handle_);
}

void* Grants::MapRing(uint32_t ref) {
  void* page = map_(handle_, 1, domid_, &ref, PROT_READ | PROT_WRITE);
  if (page == nullptr) throw std::runtime_error(std::string("cannot map the ring: ") + strerror(errno));
  mapped_.push_back(page);
  return page;
}

Arena::Arena(size_t bytes) : size_((bytes + kPageSize - 1) & ~size_t{kPageSize - 1}) {
  void* start = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (start == MAP_FAILED) throw std::bad_alloc();
  bytes_ = static_cast<uint8_t*>(start);
}

}  // namespace bench
