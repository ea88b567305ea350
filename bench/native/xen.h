// libxengnttab, opened at run time from the directory that the TypeScript side uses too.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <string>
#include <vector>

// Only the types of the C ABI.
#include "../../native/xenlib.h"

namespace bench {

using Segment = vifd::CopySegment;

class Grants {
 public:
  // Throws std::runtime_error.
  Grants(const std::string& directory, uint16_t domid);
  ~Grants();
  Grants(const Grants&) = delete;
  Grants& operator=(const Grants&) = delete;

  uint16_t domid() const { return domid_; }
  void* MapRing(uint32_t ref);
  // False when the call itself failed; each segment has its own status besides.
  bool Copy(Segment* segments, uint32_t count) { return copy_(handle_, count, segments) == 0; }

 private:
  uint16_t domid_;
  xengntdev_handle* handle_;
  int (*close_)(xengntdev_handle*);
  void* (*map_)(xengntdev_handle*, uint32_t, uint32_t, uint32_t*, int);
  int (*unmap_)(xengntdev_handle*, void*, uint32_t);
  int (*copy_)(xengntdev_handle*, uint32_t, Segment*);
  std::vector<void*> mapped_;
};

// Zeroed memory of whole pages, touched already.
class Arena {
 public:
  explicit Arena(size_t bytes);
  ~Arena() { munmap(bytes_, size_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  uint8_t* at(size_t offset) const { return bytes_ + offset; }
  size_t size() const { return size_; }

 private:
  uint8_t* bytes_;
  size_t size_;
};

}  // namespace bench
