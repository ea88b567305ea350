#include "shares.h"

#include <cerrno>

#include "layout.h"
#include "memory.h"

namespace vifd {

namespace {

struct ShareTable {
  std::shared_ptr<XenLib> lib;
  GnttabHandle* handle;
  ~ShareTable() { lib->gntshr_close(handle); }
};

class SharedPages {
 public:
  SharedPages(std::shared_ptr<ShareTable> table, void* start, uint32_t pages)
      : table_(std::move(table)), start_(start), pages_(pages) {}
  ~SharedPages() { GiveBack(); }

  void Expose(const Napi::ArrayBuffer& buffer) { buffer_ = Napi::Weak(buffer.As<Napi::Object>()); }

  // The reference, or -errno.
  int64_t Grant(uint32_t page, uint32_t domid, bool writable) {
    if (start_ == nullptr || page >= pages_) return -EINVAL;
    const auto* address = static_cast<const uint8_t*>(start_) + size_t{page} * layout::PAGE_SIZE;
    const int64_t ref = table_->lib->sim_grant(table_->handle, address, domid, writable ? 1 : 0);
    return ref < 0 ? -errno : ref;
  }

  int End(uint32_t ref) { return table_->lib->sim_end(table_->handle, ref) < 0 ? -errno : 0; }

  // Detached first, as for a mapping: what a view still held would show belongs to nobody then.
  int Release() {
    if (start_ == nullptr) return 0;
    const Napi::Env env = buffer_.Env();
    const Napi::HandleScope scope(env);
    const Napi::Object buffer = buffer_.Value();
    if (!buffer.IsEmpty() && napi_detach_arraybuffer(env, buffer) != napi_ok) return -EBUSY;
    return GiveBack();
  }

 private:
  int GiveBack() {
    if (start_ == nullptr) return 0;
    void* start = start_;
    start_ = nullptr;
    return table_->lib->sim_release(table_->handle, start, pages_) < 0 ? -errno : 0;
  }

  std::shared_ptr<ShareTable> table_;
  Napi::ObjectReference buffer_;
  void* start_;
  uint32_t pages_;
};

Napi::Value Allocate(const Napi::CallbackInfo& info, const std::shared_ptr<ShareTable>& table) {
  const Napi::Env env = info.Env();
  const uint32_t pages = info[0].As<Napi::Number>().Uint32Value();
  void* start = table->lib->sim_allocate(table->handle, pages);
  if (start == nullptr) return Napi::Number::New(env, -errno);
  const auto shared = std::make_shared<SharedPages>(table, start, pages);
  const Napi::ArrayBuffer buffer = ExternalBuffer(env, start, size_t{pages} * layout::PAGE_SIZE, shared);
  shared->Expose(buffer);

  Napi::Object out = Napi::Object::New(env);
  out["buffer"] = buffer;
  out["grant"] = Napi::Function::New(env, [shared](const Napi::CallbackInfo& call) {
    const int64_t ref = shared->Grant(call[0].As<Napi::Number>().Uint32Value(),
                                      call[1].As<Napi::Number>().Uint32Value(), call[2].As<Napi::Boolean>().Value());
    return Napi::Number::New(call.Env(), static_cast<double>(ref));
  });
  out["end"] = Napi::Function::New(env, [shared](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), shared->End(call[0].As<Napi::Number>().Uint32Value()));
  });
  out["release"] = Napi::Function::New(
      env, [shared](const Napi::CallbackInfo& call) { return Napi::Number::New(call.Env(), shared->Release()); });
  return out;
}

}  // namespace

Napi::Value OpenShares(Napi::Env env, const std::shared_ptr<XenLib>& lib) {
  GnttabHandle* handle = lib->gntshr_open(SilentLogger(), 0);
  if (handle == nullptr) return Napi::Number::New(env, -errno);
  const std::shared_ptr<ShareTable> table(new ShareTable{lib, handle});
  Napi::Object out = Napi::Object::New(env);
  out["allocate"] = Napi::Function::New(env, [table](const Napi::CallbackInfo& info) { return Allocate(info, table); });
  return out;
}

}  // namespace vifd
