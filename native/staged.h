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

  // Maps `refs`, none of which is here yet: all or none. 0, or -errno.
  int Add(const uint32_t* refs, uint32_t count, bool write);
  // Unmaps those of `refs` that are here. 0, or -errno: nothing has changed then.
  int Remove(const uint32_t* refs, uint32_t count);
  // 0, or -errno: what could not be unmapped is tried again by the next call.
  int Clear();
  uint32_t size() const { return size_; }

  // The grant's page, or nullptr when it is not here, or only for reading.
  uint8_t* Page(uint32_t ref, bool write) const {
    if (size_ == 0) return nullptr;
    for (uint32_t at = Hash(ref);; at = (at + 1) & mask_) {
      const Entry& entry = entries_[at];
      if (entry.page == nullptr) return nullptr;
      if (entry.ref == ref) return write && !entry.write ? nullptr : entry.page;
    }
  }

 private:
  // What was mapped by one call; it can only be unmapped as a whole (linux/drivers/xen/gntdev.c).
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
  // Makes one area of all for reading, and one of all for writing. 0, or an errno when these could not be mapped anew.
  int Merge();
  // 0 or an errno.
  int MapArea(Area* area);
  // Unmaps areas that are in the table no more, and those that could not be unmapped before. 0 or an errno.
  int UnmapAll(std::vector<Area> areas);
  // Fills the table from the areas. Never more than half full, so that every search ends.
  void Index();

  std::shared_ptr<GrantTable> table_;
  uint32_t domid_;
  std::vector<Area> areas_;
  // Out of the table, and still mapped.
  std::vector<Area> stuck_;
  std::vector<Entry> entries_;
  uint32_t mask_ = 0;
  uint32_t size_ = 0;
};

// staged(domid) -> { add(refs, write), remove(refs), size(), clear(), handle }
Napi::Value NewStaged(const Napi::CallbackInfo& info, const std::shared_ptr<GrantTable>& table);

// What is behind the `handle` that NewStaged gave out; nullptr for undefined.
std::shared_ptr<StagedGrants> StagedOf(const Napi::Value& handle);

}  // namespace vifd
