// Many grant operations in one call: lib/xen/seam.ts, GrantBatch.
#pragma once

#include <napi.h>
#include <sys/uio.h>

#include <memory>
#include <vector>

#include "grants.h"
#include "memory.h"
#include "staged.h"

namespace vifd {

class GrantBatch {
 public:
  GrantBatch(std::shared_ptr<GrantTable> table, uint32_t domid, const Napi::Uint32Array& ops,
             const Napi::Uint8Array& arena, std::shared_ptr<StagedGrants> staged);
  ~GrantBatch() { UnmapAreas(); }

  void CopyFromGuest();
  void CopyToGuest();
  void MapFromGuest();
  void MapToGuest();
  void Unmap();
  // Unmaps, and releases the memory that the batch works on: every other call throws from then on. Returns 0 or -errno; the next call tries
  // again to unmap areas that could not be unmapped.
  int End();

  // Throws if JavaScript has transferred the operations that MappedSpan reads.
  void CheckOps() const { ops_.Check(); }
  bool mapped() const { return mapped_; }

  // Where the bytes of operation `index` lie while mapped, from the span's start on; false when it is not mapped.
  bool MappedSpan(uint32_t index, iovec* span, uint32_t* head) const;

 private:
  struct Area {
    uint8_t* start;
    uint32_t pages;
  };

  template <bool to_guest>
  void Copy();
  uint32_t* Op(uint32_t index) const;
  uint32_t Count() const;
  // Whether the operation's span is inside a page, and the bytes to move are inside the span and the arena.
  bool Fits(const uint32_t* op, uint32_t moved) const;
  // Fills a segment for each operation that needs the hypervisor, and returns how many; moves the bytes of staged grants at once. Operations
  // that do not fit get a status, and count in `misfits`. One loop without calls: it is hot. `any_staged` is false if no grant is staged.
  template <bool to_guest, bool any_staged>
  uint32_t FillSegments(uint32_t* misfits);
  // Copies the statuses of `filled` segments into their operations, if one is not 0. Returns how many are not.
  uint32_t TakeStatuses(uint32_t filled);
  // Makes all statuses 0, so that a copy writes only those of operations that failed.
  void ClearStatuses();
  // Checks the offsets of every operation and sets its status; lists the valid ones that are not empty in `chosen_`.
  void Choose(bool whole_span);
  void MoveByMapping(bool to_guest, bool whole_span);
  // Finds the pages of the chosen operations, in `staged_` first; lists in `to_map_` those that are not there.
  void FindStaged(bool to_guest);
  // Returns 0, or an errno of the host.
  int MapRange(uint32_t first, uint32_t count, int protection);
  static void Move(const uint32_t* op, uint8_t* page, uint8_t* arena, uint32_t length, bool to_guest);
  void CopySpans(bool to_guest, bool whole_span);
  // Returns 0 or an errno. Areas that could not be unmapped stay in the list for the next call.
  int UnmapAreas();
  // Writes OPS_FAILED from the statuses, and that the calls themselves succeeded.
  void CountFailed();
  // Records that a call failed for a reason of the host: no status is valid, and the caller may repeat the whole batch.
  void Fail(int error);

  std::shared_ptr<GrantTable> table_;
  // May be null. Its pages need no call of the hypervisor.
  std::shared_ptr<StagedGrants> staged_;
  uint32_t domid_;
  uint32_t capacity_;
  Pin ops_;
  Pin arena_;
  // All of these have room for `capacity_` from the start: no call allocates.
  std::vector<CopySegment> segments_;
  // By segment: the index of its operation.
  std::vector<uint32_t> segment_ops_;
  std::vector<uint32_t> chosen_;
  std::vector<uint32_t> to_map_;
  std::vector<uint32_t> refs_;
  std::vector<Area> areas_;
  std::vector<uint8_t*> pages_;
  // Some OP_STATUS may not be 0. True at first: JavaScript made the block.
  bool statuses_set_ = true;
  // Some of `pages_` are set.
  bool mapped_ = false;
};

// batch(domid, ops, arena, staged.handle | undefined) -> { copyFromGuest(), copyToGuest(), mapFromGuest(), mapToGuest(), unmap(), handle }
Napi::Value NewBatch(const Napi::CallbackInfo& info, const std::shared_ptr<GrantTable>& table);

// Returns the batch of a `handle` of NewBatch.
std::shared_ptr<GrantBatch> BatchOf(const Napi::Value& handle);

}  // namespace vifd
