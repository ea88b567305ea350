#include "staged.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "layout.h"

namespace vifd {

namespace {

// The most areas of one guest. A process can have few (vm.max_map_count, 65530 by default), and a guest that adds its grants one by one must
// not use them up.
constexpr size_t AREAS_MAX = 32;

}  // namespace

int StagedGrants::MapArea(Area* area) {
  void* start = table_->lib->gnttab_map_domain_grant_refs(table_->handle, static_cast<uint32_t>(area->refs.size()), domid_,
                                                          area->refs.data(), area->write ? PROT_READ | PROT_WRITE : PROT_READ);
  if (start == nullptr || start == MAP_FAILED) return errno == 0 ? EIO : errno;
  area->start = static_cast<uint8_t*>(start);
  return 0;
}

int StagedGrants::UnmapAll(std::vector<Area> areas) {
  std::vector<Area> all = std::move(stuck_);
  stuck_.clear();
  for (Area& area : areas) all.push_back(std::move(area));
  int error = 0;
  for (Area& area : all) {
    if (table_->lib->gnttab_unmap(table_->handle, area.start, static_cast<uint32_t>(area.refs.size())) == 0) continue;
    error = errno == 0 ? EIO : errno;
    stuck_.push_back(std::move(area));
  }
  return error;
}

int StagedGrants::Add(const uint32_t* refs, uint32_t count, bool write) {
  if (areas_.size() >= AREAS_MAX) {
    if (const int error = Merge(); error != 0) return -error;
  }
  Area area{nullptr, std::vector<uint32_t>(refs, refs + count), write};
  if (const int error = MapArea(&area); error != 0) return -error;
  areas_.push_back(std::move(area));
  Index();
  return 0;
}

int StagedGrants::Remove(const uint32_t* refs, uint32_t count) {
  std::vector<uint32_t> gone(refs, refs + count);
  std::sort(gone.begin(), gone.end());
  // The part of each area that stays. All parts are mapped before any area is unmapped, so that a failure of the host changes nothing.
  std::vector<Area> rests;
  for (const Area& area : areas_) {
    Area rest{nullptr, {}, area.write};
    for (const uint32_t ref : area.refs) {
      if (!std::binary_search(gone.begin(), gone.end(), ref)) rest.refs.push_back(ref);
    }
    if (!rest.refs.empty() && rest.refs.size() < area.refs.size()) {
      // If the guest has ended one of the other grants, this fails: from then on the hypervisor copies to and from the rest, which changes
      // nothing else.
      const int error = MapArea(&rest);
      if (error != 0 && !IsGranterFault(error)) {
        rests.erase(std::remove_if(rests.begin(), rests.end(), [](const Area& one) { return one.start == nullptr; }),
                    rests.end());
        UnmapAll(std::move(rests));
        return -error;
      }
    }
    rests.push_back(std::move(rest));
  }
  std::vector<Area> remaining;
  std::vector<Area> old;
  for (size_t i = 0; i < areas_.size(); i++) {
    if (rests[i].refs.size() == areas_[i].refs.size()) {
      remaining.push_back(std::move(areas_[i]));
      continue;
    }
    if (rests[i].start != nullptr) remaining.push_back(std::move(rests[i]));
    old.push_back(std::move(areas_[i]));
  }
  areas_ = std::move(remaining);
  // Removes the pages from the table before they are unmapped.
  Index();
  // Unmaps at once: the grants must not be in use when the guest gets the response.
  return -UnmapAll(std::move(old));
}

int StagedGrants::Merge() {
  std::vector<Area> merged;
  int error = 0;
  for (const bool write : {false, true}) {
    Area all{nullptr, {}, write};
    for (const Area& area : areas_) {
      if (area.write == write) all.refs.insert(all.refs.end(), area.refs.begin(), area.refs.end());
    }
    if (all.refs.empty()) continue;
    error = MapArea(&all);
    if (error != 0) break;
    merged.push_back(std::move(all));
  }
  if (error == 0) {
    std::swap(areas_, merged);
    Index();
  }
  UnmapAll(std::move(merged));
  return error;
}

int StagedGrants::Clear() {
  std::vector<Area> old = std::move(areas_);
  areas_.clear();
  Index();
  return -UnmapAll(std::move(old));
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
    return Napi::Number::New(call.Env(),
                             staged->Remove(refs.Data(), static_cast<uint32_t>(refs.ElementLength())));
  });
  out["size"] = Napi::Function::New(
      env, [staged](const Napi::CallbackInfo& call) { return Napi::Number::New(call.Env(), staged->size()); });
  out["clear"] = Napi::Function::New(
      env, [staged](const Napi::CallbackInfo& call) { return Napi::Number::New(call.Env(), staged->Clear()); });
  out["handle"] = Napi::External<std::shared_ptr<StagedGrants>>::New(
      env, new std::shared_ptr<StagedGrants>(staged),
      [](Napi::Env, std::shared_ptr<StagedGrants>* owned) { delete owned; });
  return out;
}

std::shared_ptr<StagedGrants> StagedOf(const Napi::Value& handle) {
  return handle.IsExternal() ? *handle.As<Napi::External<std::shared_ptr<StagedGrants>>>().Data() : nullptr;
}

}  // namespace vifd
