#include "grants.h"

#include <sys/mman.h>

#include <cerrno>

#include "grant_batch.h"
#include "layout.h"
#include "memory.h"
#include "staged.h"

namespace vifd {

namespace {

// Mapped pages of another domain.
class Mapping : public BufferPages {
 public:
  Mapping(std::shared_ptr<GrantTable> table, void* start, uint32_t pages)
      : BufferPages(start, size_t{pages} * layout::PAGE_SIZE), table_(std::move(table)), pages_(pages) {}
  ~Mapping() override { Finish(); }

 protected:
  int Release() override { return table_->lib->gnttab_unmap(table_->handle, start(), pages_) < 0 ? -errno : 0; }

  // Returns the pages to the guest even if an ArrayBuffer still has their addresses. The addresses are free between the two calls: if another
  // thread maps memory there, that memory stays, and the ArrayBuffer that was moved here shows it. Nothing can crash.
  int Vacate() override {
    if (const int error = Release(); error < 0) return error;
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    zeros_ = mmap(start(), size(), PROT_READ | PROT_WRITE, flags, -1, 0) == start();
    return 0;
  }

 private:
  std::shared_ptr<GrantTable> table_;
  uint32_t pages_;
};

Napi::Value Map(const Napi::CallbackInfo& info, const std::shared_ptr<GrantTable>& table) {
  const Napi::Env env = info.Env();
  const uint32_t domid = info[0].As<Napi::Number>().Uint32Value();
  auto refs = info[1].As<Napi::Uint32Array>();
  const bool write = info[2].As<Napi::Boolean>().Value();
  const auto pages = static_cast<uint32_t>(refs.ElementLength());
  void* start = table->lib->gnttab_map_domain_grant_refs(table->handle, pages, domid, refs.Data(),
                                                         write ? PROT_READ | PROT_WRITE : PROT_READ);
  if (start == nullptr || start == MAP_FAILED) return Napi::Number::New(env, -errno);
  return BufferObject(env, std::make_shared<Mapping>(table, start, pages));
}

}  // namespace

bool IsGranterFault(int error) { return error == EINVAL; }

Napi::Value OpenGrants(Napi::Env env, const std::shared_ptr<XenLib>& lib) {
  GnttabHandle* handle = lib->gnttab_open(SilentLogger(), 0);
  if (handle == nullptr) return Napi::Number::New(env, -errno);
  const std::shared_ptr<GrantTable> table(new GrantTable{lib, handle});
  Napi::Object out = Napi::Object::New(env);
  out["map"] = Napi::Function::New(env, [table](const Napi::CallbackInfo& info) { return Map(info, table); });
  out["batch"] = Napi::Function::New(env, [table](const Napi::CallbackInfo& info) { return NewBatch(info, table); });
  out["staged"] = Napi::Function::New(env, [table](const Napi::CallbackInfo& info) { return NewStaged(info, table); });
  return out;
}

}  // namespace vifd
