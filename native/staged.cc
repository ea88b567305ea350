#include "staged.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "layout.h"

namespace vifd {

namespace {

// Areas are what a process has few of (vm.max_map_count, 65530 by default): a guest that adds its grants one by one
// must not use them up.
constexpr size_t AREAS_MAX = 32;

}  // namespace

uint8_t* StagedGrants::MapArea(std::vector<uint32_t>* refs, bool write) {
  void* start = table_->lib->gnttab_map_domain_grant_refs(table_->handle, static_cast<uint32_t>(refs->size()), domid_,
                                                          refs->data(), write ? PROT_READ | PROT_WRITE : PROT_READ);
  return start == MAP_FAILED ? nullptr : static_cast<uint8_t*>(start);
}

void StagedGrants::UnmapArea(const Area& area) {
  table_->lib->gnttab_unmap(table_->handle, area.start, static_cast<uint32_t>(area.refs.size()));
}

int StagedGrants::Add(const uint32_t* refs, uint32_t count, bool write) {
  if (areas_.size() >= AREAS_MAX && !Merge()) return -ENOMEM;
  Area area{nullptr, std::vector<uint32_t>(refs, refs + count), write};
  area.start = MapArea(&area.refs, write);
  if (area.start == nullptr) return errno == 0 ? -EINVAL : -errno;
  areas_.push_back(std::move(area));
  Index();
  return 0;
}

void StagedGrants::Remove(const uint32_t* refs, uint32_t count) {
  std::vector<uint32_t> gone(refs, refs + count);
  std::sort(gone.begin(), gone.end());
  std::vector<Area> kept;
  std::vector<Area> old;
  for (Area& area : areas_) {
    Area rest{nullptr, {}, area.write};
    for (const uint32_t ref : area.refs) {
      if (!std::binary_search(gone.begin(), gone.end(), ref)) rest.refs.push_back(ref);
    }
    if (rest.refs.size() == area.refs.size()) {
      kept.push_back(std::move(area));
      continue;
    }
    // The rest is mapped anew. Where that fails it is copied by the hypervisor from now on, and nothing else is different.
    if (!rest.refs.empty()) rest.start = MapArea(&rest.refs, rest.write);
    if (rest.start != nullptr) kept.push_back(std::move(rest));
    old.push_back(std::move(area));
  }
  areas_ = std::move(kept);
  // Nobody finds a page any more when it is unmapped.
  Index();
  for (const Area& area : old) UnmapArea(area);
}

bool StagedGrants::Merge() {
  std::vector<Area> merged;
  for (const bool write : {false, true}) {
    Area all{nullptr, {}, write};
    for (const Area& area : areas_) {
      if (area.write == write) all.refs.insert(all.refs.end(), area.refs.begin(), area.refs.end());
    }
    if (all.refs.empty()) continue;
    all.start = MapArea(&all.refs, write);
    if (all.start == nullptr) break;
    merged.push_back(std::move(all));
  }
  size_t mapped = 0;
  for (const Area& area : merged) mapped += area.refs.size();
  const bool whole = mapped == size_;
  if (whole) {
    std::swap(areas_, merged);
    Index();
  }
  for (const Area& area : merged) UnmapArea(area);
  return whole;
}

void StagedGrants::Clear() {
  std::vector<Area> old = std::move(areas_);
  areas_.clear();
  Index();
  for (const Area& area : old) UnmapArea(area);
}

void StagedGrants::Index() {
  size_ = 0;
  for (const Area& area : areas_) size_ += static_cast<uint32_t>(area.refs.size());
  uint32_t places = 64;
  while (places < size_ * 2) places *= 2;
  mask_ = places - 1;
  entries_.assign(places, Entry{nullptr, 0, false});
  for (const Area& area : areas_) {
    for (size_t i = 0; i < area.refs.size(); i++) {
      uint32_t at = Hash(area.refs[i]);
      while (entries_[at].page != nullptr) at = (at + 1) & mask_;
      entries_[at] = {area.start + i * layout::PAGE_SIZE, area.refs[i], area.write};
    }
  }
}

Napi::Value NewStaged(const Napi::CallbackInfo& info, const std::shared_ptr<GrantTable>& table) {
  const Napi::Env env = info.Env();
  const auto staged = std::make_shared<StagedGrants>(table, info[0].As<Napi::Number>().Uint32Value());
  Napi::Object out = Napi::Object::New(env);
  out["add"] = Napi::Function::New(env, [staged](const Napi::CallbackInfo& call) {
    auto refs = call[0].As<Napi::Uint32Array>();
    const auto count = static_cast<uint32_t>(refs.ElementLength());
    return Napi::Number::New(call.Env(), staged->Add(refs.Data(), count, call[1].As<Napi::Boolean>().Value()));
  });
  out["remove"] = Napi::Function::New(env, [staged](const Napi::CallbackInfo& call) {
    auto refs = call[0].As<Napi::Uint32Array>();
    staged->Remove(refs.Data(), static_cast<uint32_t>(refs.ElementLength()));
  });
  out["size"] = Napi::Function::New(
      env, [staged](const Napi::CallbackInfo& call) { return Napi::Number::New(call.Env(), staged->size()); });
  out["clear"] = Napi::Function::New(env, [staged](const Napi::CallbackInfo&) { staged->Clear(); });
  out["handle"] = Napi::External<std::shared_ptr<StagedGrants>>::New(
      env, new std::shared_ptr<StagedGrants>(staged),
      [](Napi::Env, std::shared_ptr<StagedGrants>* held) { delete held; });
  return out;
}

std::shared_ptr<StagedGrants> StagedOf(const Napi::Value& handle) {
  return handle.IsExternal() ? *handle.As<Napi::External<std::shared_ptr<StagedGrants>>>().Data() : nullptr;
}

}  // namespace vifd
