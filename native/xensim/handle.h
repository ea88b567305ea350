// The handle of libxengnttab, one type for its two sides.
#pragma once

#include <cerrno>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "abi.h"
#include "host.h"

#define XENSIM_EXPORT __attribute__((visibility("default")))

struct xengntdev_handle {
  std::unique_ptr<xensim::Host> host;
  // Guards the members below.
  std::mutex mutex;
  // gnttab: the mappings, by start address, as indices into State::mappings.
  std::unordered_map<void *, std::vector<uint32_t>> mapped;
  // gntshr: address space for all of our pages, so that a page's address gives its frame. Only allocated pages can be accessed, as with
  // memory that the real library maps and unmaps.
  uint8_t *window = nullptr;
};

namespace xensim {

constexpr size_t window_size = size_t{max_pages} * page_size;

// For functions that report through errno.
inline int fail(int error) {
  errno = error;
  return -1;
}
inline void *fail_null(int error) {
  errno = error;
  return nullptr;
}

// Returns an address range without access, or null.
uint8_t *reserve(size_t bytes);
xengntdev_handle *open_handle();

}  // namespace xensim
