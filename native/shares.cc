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

// Pages that a peer still maps continue to exist, out of reach of this process.
class SharedPages : public BufferPages {
 public:
  SharedPages(std::shared_ptr<ShareTable> table, void* start, uint32_t pages)
      : BufferPages(start, size_t{pages} * layout::PAGE_SIZE), table_(std::move(table)), pages_(pages) {}
  ~SharedPages() override { Finish(); }

  // Returns the reference, or -errno.
  int64_t Grant(uint32_t page, uint32_t domid, bool writable) {
    if (page >= pages_) return -EINVAL;
    const int64_t ref =
        table_->lib->sim_grant(table_->handle, start() + size_t{page} * layout::PAGE_SIZE, domid, writable ? 1 : 0);
    return ref < 0 ? -errno : ref;
  }

  int EndGrant(uint32_t ref) { return table_->lib->sim_end(table_->handle, ref) < 0 ? -errno : 0; }

 protected:
  int Release() override { return table_->lib->sim_release(table_->handle, start(), pages_) < 0 ? -errno : 0; }
  // The library allocated the addresses, and nothing else can be mapped there: the pages stay until they are collected.
  int Vacate() override { return -EBUSY; }

 private:
  std::shared_ptr<ShareTable> table_;
  uint32_t pages_;
};

Napi::Value Allocate(const Napi::CallbackInfo& info, const std::shared_ptr<ShareTable>& table) {
  const Napi::Env env = info.Env();
  const uint32_t pages = info[0].As<Napi::Number>().Uint32Value();
  void* start = table->lib->sim_allocate(table->handle, pages);
  if (start == nullptr) return Napi::Number::New(env, -errno);
  const auto shared = std::make_shared<SharedPages>(table, start, pages);
  Napi::Object out = BufferObject(env, shared);
  out["grant"] = Napi::Function::New(env, [shared](const Napi::CallbackInfo& call) {
    const int64_t ref = shared->Grant(call[0].As<Napi::Number>().Uint32Value(),
                                      call[1].As<Napi::Number>().Uint32Value(), call[2].As<Napi::Boolean>().Value());
    return Napi::Number::New(call.Env(), static_cast<double>(ref));
  });
  out["end"] = Napi::Function::New(env, [shared](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), shared->EndGrant(call[0].As<Napi::Number>().Uint32Value()));
  });
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
