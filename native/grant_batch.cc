#include "grant_batch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "layout.h"
#include "method.h"

namespace vifd {

using namespace layout;

namespace {

uint32_t SpanOffset(const uint32_t* op) { return op[OP_SPAN] & 0xffff; }
uint32_t SpanLength(const uint32_t* op) { return op[OP_SPAN] >> 16; }
void SetStatus(uint32_t* op, int32_t status) { op[OP_STATUS] = static_cast<uint32_t>(status); }

}  // namespace

GrantBatch::GrantBatch(std::shared_ptr<GrantTable> table, uint32_t domid, const Napi::Uint32Array& ops,
                       const Napi::Uint8Array& arena, std::shared_ptr<StagedGrants> staged)
    : table_(std::move(table)), staged_(std::move(staged)), domid_(domid), ops_(ops), arena_(arena) {
  const size_t words = ops.ElementLength();
  capacity_ = words < OPS_HEADER_WORDS ? 0 : static_cast<uint32_t>((words - OPS_HEADER_WORDS) / OP_WORDS);
  segments_.resize(capacity_);
  segment_ops_.resize(capacity_);
  chosen_.reserve(capacity_);
  to_map_.reserve(capacity_);
  refs_.resize(capacity_);
  areas_.reserve(capacity_);
  pages_.assign(capacity_, nullptr);
}

uint32_t* GrantBatch::Op(uint32_t index) const { return ops_.words() + OPS_HEADER_WORDS + size_t{index} * OP_WORDS; }

uint32_t GrantBatch::Count() const { return capacity_ == 0 ? 0 : std::min(ops_.words()[OPS_COUNT], capacity_); }

bool GrantBatch::Fits(const uint32_t* op, uint32_t moved) const {
  const uint32_t length = SpanLength(op);
  // 64 bits: an arena offset near 2^32 must not wrap around to the arena's start.
  return SpanOffset(op) + length <= PAGE_SIZE && moved <= length && uint64_t{op[OP_ARENA]} + moved <= arena_.size();
}

void GrantBatch::Choose(bool whole_span) {
  ops_.Check();
  arena_.Check();
  chosen_.clear();
  statuses_set_ = true;
  const uint32_t count = Count();
  for (uint32_t i = 0; i < count; i++) {
    uint32_t* op = Op(i);
    const bool fits = Fits(op, whole_span ? SpanLength(op) : op[OP_HEAD]);
    SetStatus(op, fits ? GNTST_OKAY : GNTST_BAD_COPY_ARG);
    // An empty span needs no page. Its grant may not exist, so mapping it could fail; Linux's gntdev copies an empty span without reading the
    // grant.
    if (fits && SpanLength(op) > 0) chosen_.push_back(i);
  }
}

template <bool to_guest, bool any_staged>
uint32_t GrantBatch::FillSegments(uint32_t* misfits) {
  // All that the loop needs is in local variables: the compiler cannot tell that the stores below change no member, and would load each
  // member again for each operation.
  const uint32_t count = Count();
  const uint64_t arena_bytes = arena_.size();
  uint8_t* const arena = arena_.bytes();
  const auto domid = static_cast<uint16_t>(domid_);
  CopySegment* const segments = segments_.data();
  uint32_t* const segment_ops = segment_ops_.data();
  uint32_t* op = Op(0);
  uint32_t filled = 0;
  for (uint32_t i = 0; i < count; i++, op += OP_WORDS) {
    const uint32_t offset = SpanOffset(op);
    const uint32_t length = SpanLength(op);
    // 64 bits, as in Fits.
    const uint64_t place = op[OP_ARENA];
    if (offset + length > PAGE_SIZE || place + length > arena_bytes) {
      SetStatus(op, GNTST_BAD_COPY_ARG);
      (*misfits)++;
      continue;
    }
    if (length == 0) continue;
    if constexpr (any_staged) {
      uint8_t* page = staged_->Page(op[OP_REF], to_guest);
      if (page != nullptr) {
        Move(op, page, arena, length, to_guest);
        continue;
      }
    }
    CopySegment& segment = segments[filled];
    (to_guest ? segment.dest : segment.source).foreign = {op[OP_REF], static_cast<uint16_t>(offset), domid};
    (to_guest ? segment.source : segment.dest).virt = arena + place;
    segment.len = static_cast<uint16_t>(length);
    segment.flags = to_guest ? GNTCOPY_DEST_GREF : GNTCOPY_SOURCE_GREF;
    segment.status = GNTST_GENERAL_ERROR;
    segment_ops[filled++] = i;
  }
  return filled;
}

uint32_t GrantBatch::TakeStatuses(uint32_t filled) {
  int all = GNTST_OKAY;
  for (uint32_t i = 0; i < filled; i++) all |= segments_[i].status;
  if (all == GNTST_OKAY) return 0;
  uint32_t failed = 0;
  for (uint32_t i = 0; i < filled; i++) {
    const int32_t status = segments_[i].status;
    SetStatus(Op(segment_ops_[i]), status);
    if (status != GNTST_OKAY) failed++;
  }
  return failed;
}

void GrantBatch::ClearStatuses() {
  if (!statuses_set_) return;
  for (uint32_t i = 0; i < capacity_; i++) SetStatus(Op(i), GNTST_OKAY);
  statuses_set_ = false;
}

template <bool to_guest>
void GrantBatch::Copy() {
  const auto grant_copy = table_->lib->gnttab_grant_copy;
  if (grant_copy == nullptr) return MoveByMapping(to_guest, true);
  ops_.Check();
  arena_.Check();
  ClearStatuses();
  uint32_t failed = 0;
  const bool any_staged = staged_ != nullptr && staged_->size() > 0;
  const uint32_t filled = any_staged ? FillSegments<to_guest, true>(&failed) : FillSegments<to_guest, false>(&failed);
  statuses_set_ = failed > 0;
  // 0 even if segments failed: the statuses have the errors of the guest. Linux's gntdev fails as a whole if it cannot pin our own memory
  // (EFAULT, ENOMEM), or for arguments that were checked above.
  if (filled > 0 && grant_copy(table_->handle, filled, segments_.data()) != 0) return Fail(errno);
  failed += TakeStatuses(filled);
  statuses_set_ = failed > 0;
  ops_.words()[OPS_FAILED] = failed;
  ops_.words()[OPS_ERRNO] = 0;
}

void GrantBatch::CopyFromGuest() { Copy<false>(); }

void GrantBatch::CopyToGuest() { Copy<true>(); }

void GrantBatch::Fail(int error) {
  // Not 0: a caller that reads 0 does not read the statuses.
  ops_.words()[OPS_FAILED] = std::max(Count(), 1u);
  ops_.words()[OPS_ERRNO] = static_cast<uint32_t>(error == 0 ? EIO : error);
}

void GrantBatch::CountFailed() {
  const uint32_t count = Count();
  uint32_t failed = 0;
  for (uint32_t i = 0; i < count; i++) failed += Op(i)[OP_STATUS] != 0 ? 1 : 0;
  ops_.words()[OPS_FAILED] = failed;
  ops_.words()[OPS_ERRNO] = 0;
}

void GrantBatch::FindStaged(bool to_guest) {
  to_map_.clear();
  for (const uint32_t index : chosen_) {
    const uint32_t ref = Op(index)[OP_REF];
    uint8_t* page = staged_ == nullptr ? nullptr : staged_->Page(ref, to_guest);
    pages_[index] = page;
    if (page != nullptr) continue;
    refs_[to_map_.size()] = ref;
    to_map_.push_back(index);
  }
}

int GrantBatch::MapRange(uint32_t first, uint32_t count, int protection) {
  void* start = table_->lib->gnttab_map_domain_grant_refs(table_->handle, count, domid_, refs_.data() + first,
                                                          protection);
  if (start != nullptr && start != MAP_FAILED) {
    auto* bytes = static_cast<uint8_t*>(start);
    areas_.push_back({bytes, count});
    for (uint32_t i = 0; i < count; i++) pages_[to_map_[first + i]] = bytes + size_t{i} * PAGE_SIZE;
    return 0;
  }
  const int error = errno;
  // An error of the host would fail both halves too.
  if (!IsGranterFault(error)) return error;
  if (count == 1) {
    SetStatus(Op(to_map_[first]), GNTST_BAD_GNTREF);
    return 0;
  }
  // The call maps all or none and does not report which reference is bad. Halving finds b bad ones among n in O(b log n) calls and never
  // makes more than 2n.
  const int failed = MapRange(first, count / 2, protection);
  return failed != 0 ? failed : MapRange(first + count / 2, count - count / 2, protection);
}

void GrantBatch::Move(const uint32_t* op, uint8_t* page, uint8_t* arena, uint32_t length, bool to_guest) {
  uint8_t* guest = page + SpanOffset(op);
  uint8_t* ours = arena + op[OP_ARENA];
  if (to_guest) {
    memcpy(guest, ours, length);
  } else {
    memcpy(ours, guest, length);
  }
}

void GrantBatch::CopySpans(bool to_guest, bool whole_span) {
  for (const uint32_t index : chosen_) {
    uint8_t* page = pages_[index];
    if (page == nullptr) continue;
    const uint32_t* op = Op(index);
    Move(op, page, arena_.bytes(), whole_span ? SpanLength(op) : op[OP_HEAD], to_guest);
  }
}

void GrantBatch::MoveByMapping(bool to_guest, bool whole_span) {
  Choose(whole_span);
  if (const int error = UnmapAreas(); error != 0) return Fail(error);
  if (chosen_.empty()) return CountFailed();
  mapped_ = true;
  FindStaged(to_guest);
  const auto count = static_cast<uint32_t>(to_map_.size());
  int error = count == 0 ? 0 : MapRange(0, count, to_guest ? PROT_READ | PROT_WRITE : PROT_READ);
  if (error == 0) CopySpans(to_guest, whole_span);
  if (error != 0 || to_guest || whole_span) {
    const int unmapping = UnmapAreas();
    if (error == 0) error = unmapping;
  }
  if (error != 0) return Fail(error);
  CountFailed();
}

void GrantBatch::MapFromGuest() { MoveByMapping(false, false); }

void GrantBatch::MapToGuest() { MoveByMapping(true, false); }

void GrantBatch::Unmap() {
  if (!mapped_) return;
  ops_.Check();
  if (const int error = UnmapAreas(); error != 0) return Fail(error);
  ops_.words()[OPS_ERRNO] = 0;
}

int GrantBatch::UnmapAreas() {
  if (!mapped_) return 0;
  std::fill(pages_.begin(), pages_.end(), nullptr);
  int error = 0;
  size_t remaining = 0;
  for (const Area& area : areas_) {
    if (table_->lib->gnttab_unmap(table_->handle, area.start, area.pages) == 0) continue;
    error = errno == 0 ? EIO : errno;
    areas_[remaining++] = area;
  }
  areas_.resize(remaining);
  mapped_ = remaining > 0;
  return error;
}

int GrantBatch::End() {
  const int error = UnmapAreas();
  ops_.Reset();
  arena_.Reset();
  staged_.reset();
  return -error;
}

bool GrantBatch::MappedSpan(uint32_t index, iovec* span, uint32_t* head) const {
  if (index >= capacity_ || pages_[index] == nullptr) return false;
  // JavaScript may have changed the operation since it was mapped, so this checks the page's bounds again.
  const uint32_t* op = Op(index);
  if (SpanOffset(op) + SpanLength(op) > PAGE_SIZE) return false;
  *span = {pages_[index] + SpanOffset(op), SpanLength(op)};
  *head = op[OP_HEAD];
  return true;
}

Napi::Value NewBatch(const Napi::CallbackInfo& info, const std::shared_ptr<GrantTable>& table) {
  const Napi::Env env = info.Env();
  const auto batch = std::make_shared<GrantBatch>(table, info[0].As<Napi::Number>().Uint32Value(),
                                                  info[1].As<Napi::Uint32Array>(), info[2].As<Napi::Uint8Array>(),
                                                  StagedOf(info[3]));
  Napi::Object out = Napi::Object::New(env);
  out["copyFromGuest"] = DirectMethod<&GrantBatch::CopyFromGuest>(env, "copyFromGuest", batch);
  out["copyToGuest"] = DirectMethod<&GrantBatch::CopyToGuest>(env, "copyToGuest", batch);
  out["mapFromGuest"] = DirectMethod<&GrantBatch::MapFromGuest>(env, "mapFromGuest", batch);
  out["mapToGuest"] = DirectMethod<&GrantBatch::MapToGuest>(env, "mapToGuest", batch);
  out["unmap"] = DirectMethod<&GrantBatch::Unmap>(env, "unmap", batch);
  out["end"] = Napi::Function::New(
      env, [batch](const Napi::CallbackInfo& call) { return Napi::Number::New(call.Env(), batch->End()); });
  out["handle"] = Napi::External<std::shared_ptr<GrantBatch>>::New(
      env, new std::shared_ptr<GrantBatch>(batch), [](Napi::Env, std::shared_ptr<GrantBatch>* owned) { delete owned; });
  return out;
}

std::shared_ptr<GrantBatch> BatchOf(const Napi::Value& handle) {
  return handle.IsExternal() ? *handle.As<Napi::External<std::shared_ptr<GrantBatch>>>().Data() : nullptr;
}

}  // namespace vifd
