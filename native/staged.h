// Grants of one domain that stay mapped: lib/xen/seam.ts, StagedGrants.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "grants.h"

namespace vifd {

class StagedGrants {
 public:
  StagedGrants(std::shared_ptr<GrantTable> table, uint32_t domid) : table_(std::move(table)), domid_(domid) {}
  ~StagedGrants() { Clear(); }

  // Maps `refs`, none of which is staged yet: all or none. Returns 0, or -errno.
  int Add(const uint32_t* refs, uint32_t count, bool write);
  // Unmaps those of `refs` that are staged. Returns 0, or -errno: then nothing has changed.
  int Remove(const uint32_t* refs, uint32_t count);
  // Unmaps all. Returns 0, or -errno: the next call tries again to unmap the rest.
  int Clear();
  uint32_t size() const { return size_; }

  // Returns the grant's page, or nullptr if it is not staged, or is staged for reading only.
  uint8_t* Page(uint32_t ref, bool write) const {
    if (size_ == 0) return nullptr;
    for (uint32_t at = Hash(ref);; at = (at + 1) & mask_) {
      const Entry& entry = entries_[at];
      if (entry.page == nullptr) return nullptr;
      if (entry.ref == ref) return write && !entry.write ? nullptr : entry.page;
    }
  }

 private:
  // The pages that one call has mapped; only all of them can be unmapped (linux/drivers/xen/gntdev.c).
  struct Area {
    uint8_t* start;
    std::vector<uint32_t> refs;
    bool write;
  };
  struct Entry {
    uint8_t* page;
    uint32_t ref;
    bool write;
  };

  uint32_t Hash(uint32_t ref) const { return (ref * 0x9e3779b1u >> 12) & mask_; }
  // Merges all areas for reading into one, and all for writing into one. Returns 0, or an errno if these could not be mapped.
  int Merge();
  // Returns 0 or an errno.
  int MapArea(Area* area);
  // Unmaps areas that are not in the table any more, and those that could not be unmapped before. Returns 0 or an errno.
  int UnmapAll(std::vector<Area> areas);
  // Fills the table from the areas. The table is at most half full, so that every search ends.
  void Index();

  std::shared_ptr<GrantTable> table_;
  uint32_t domid_;
  std::vector<Area> areas_;
  // Areas that are not in the table any more, but are still mapped.
  std::vector<Area> stuck_;
  std::vector<Entry> entries_;
  uint32_t mask_ = 0;
  uint32_t size_ = 0;
};

// staged(domid) -> { add(refs, write), remove(refs), size(), clear(), handle }
Napi::Value NewStaged(const Napi::CallbackInfo& info, const std::shared_ptr<GrantTable>& table);

// Returns the object of a `handle` of NewStaged; nullptr for undefined.
std::shared_ptr<StagedGrants> StagedOf(const Napi::Value& handle);

}  // namespace vifd
