#include "grants.h"

#include <sys/mman.h>

#include <cerrno>

#include "grant_batch.h"
#include "layout.h"
#include "memory.h"
#include "staged.h"

namespace vifd {

namespace {

class Mapping {
 public:
  Mapping(std::shared_ptr<GrantTable> table, void* start, uint32_t pages)
      : table_(std::move(table)), start_(start), pages_(pages) {}

  // The backstop: JavaScript dropped both the mapping and every view of it.
  ~Mapping() { Release(); }

  // Weak, or the mapping would keep its own buffer alive. When the buffer is gone no view is left to be emptied.
  void Expose(const Napi::ArrayBuffer& buffer) { buffer_ = Napi::Weak(buffer.As<Napi::Object>()); }

  // Detached first: a view that is still held is empty then. The other way round it would be a crash.
  int Unmap() {
    if (start_ == nullptr) return 0;
    const Napi::Env env = buffer_.Env();
    const Napi::HandleScope scope(env);
    const Napi::Object buffer = buffer_.Value();
    if (!buffer.IsEmpty() && napi_detach_arraybuffer(env, buffer) != napi_ok) return -EBUSY;
    return Release();
  }

 private:
  int Release() {
    if (start_ == nullptr) return 0;
    void* start = start_;
    start_ = nullptr;
    return table_->lib->gnttab_unmap(table_->handle, start, pages_) < 0 ? -errno : 0;
  }

  std::shared_ptr<GrantTable> table_;
  Napi::ObjectReference buffer_;
  void* start_;
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

  const auto mapping = std::make_shared<Mapping>(table, start, pages);
  const Napi::ArrayBuffer buffer = ExternalBuffer(env, start, size_t{pages} * layout::PAGE_SIZE, mapping);
  mapping->Expose(buffer);
  Napi::Object out = Napi::Object::New(env);
  out["buffer"] = buffer;
  out["unmap"] = Napi::Function::New(env, [mapping](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), mapping->Unmap());
  });
  return out;
}

}  // namespace

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
