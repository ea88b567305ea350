#include "memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <string>

#include "layout.h"

namespace vifd {

namespace {

// Each environment (a worker thread is one) loads the addon once, and has its own constructor of errors.
struct Errors {
  Napi::FunctionReference make;
};

Napi::Error StateError(Napi::Env env, const char* message) {
  const auto* errors = env.GetInstanceData<Errors>();
  if (errors == nullptr) return Napi::TypeError::New(env, message);
  return Napi::Error(env, errors->make.Call({Napi::String::New(env, message)}));
}

bool IsDetached(Napi::Env env, const Napi::Object& buffer) {
  bool detached = true;
  napi_is_detached_arraybuffer(env, buffer, &detached);
  return detached;
}

}  // namespace

Napi::Value UseErrors(const Napi::CallbackInfo& info) {
  info.Env().SetInstanceData(new Errors{Napi::Persistent(info[0].As<Napi::Function>())});
  return info.Env().Undefined();
}

Napi::ArrayBuffer BufferPages::Expose(Napi::Env env, const std::shared_ptr<BufferPages>& pages) {
  auto* hint = new std::shared_ptr<BufferPages>(pages);
  const auto finalize = [](napi_env, void*, void* hint) {
    auto* owner = static_cast<std::shared_ptr<BufferPages>*>(hint);
    (*owner)->reachable_ = false;
    delete owner;
  };
  napi_value buffer = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(env, pages->start_, pages->size_, finalize, hint, &buffer);
  if (status != napi_ok) {
    delete hint;
    if (status == napi_no_external_buffers_allowed) {
      throw Napi::Error::New(env,
                             "this JavaScript runtime forbids external memory; vifd needs an official Node.js build");
    }
    throw Napi::Error::New(env);
  }
  pages->reachable_ = true;
  pages->buffer_ = Napi::Weak(Napi::Object(env, buffer));
  return Napi::ArrayBuffer(env, buffer);
}

int BufferPages::End() {
  if (state_ == State::vacated || state_ == State::ended) return 0;
  if (state_ == State::exposed && reachable_) {
    const Napi::Env env = buffer_.Env();
    const Napi::HandleScope scope(env);
    const Napi::Object buffer = buffer_.Value();
    // Others have detached the ArrayBuffer, or it was collected while its pages are in use: another ArrayBuffer may have them.
    if (buffer.IsEmpty() || IsDetached(env, buffer)) {
      const int error = Vacate();
      if (error == 0) state_ = State::vacated;
      return error;
    }
    if (napi_detach_arraybuffer(env, buffer) != napi_ok) return -EBUSY;
  }
  state_ = State::detached;
  const int error = Release();
  if (error == 0) state_ = State::ended;
  return error;
}

void BufferPages::Finish() {
  if (state_ == State::vacated) {
    if (zeros_) munmap(start_, size_);
  } else if (state_ != State::ended) {
    Release();
  }
  state_ = State::ended;
}

Pin::Pin(const Napi::TypedArray& array)
    : buffer_(Napi::Persistent(array.ArrayBuffer().As<Napi::Object>())), base_(array.ArrayBuffer().Data()),
      needed_(array.ByteOffset() + array.ByteLength()),
      resizable_(array.ArrayBuffer().Get("resizable").ToBoolean()),
      data_(static_cast<uint8_t*>(base_) + array.ByteOffset()), size_(array.ByteLength()) {}

bool Pin::intact() const {
  if (buffer_.IsEmpty()) return false;
  if (!resizable_) return !IsDetached(buffer_.Env(), buffer_.Value());
  void* data = nullptr;
  size_t length = 0;
  napi_get_arraybuffer_info(buffer_.Env(), buffer_.Value(), &data, &length);
  return data == base_ && length >= needed_;
}

void Pin::Fail() const {
  throw StateError(buffer_.Env(), buffer_.IsEmpty()
                                      ? "This object has ended: make another."
                                      : "Memory that this object works on was transferred, detached or made smaller.");
}

void Pin::Reset() {
  buffer_.Reset();
  data_ = nullptr;
  size_ = 0;
}

int OwnPages::Release() { return munmap(start(), size()) < 0 ? -errno : 0; }

int OwnPages::Vacate() {
  const void* zeros = mmap(start(), size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return zeros == MAP_FAILED ? -errno : 0;
}

Napi::Object BufferObject(Napi::Env env, const std::shared_ptr<BufferPages>& pages) {
  Napi::Object out = Napi::Object::New(env);
  out["buffer"] = BufferPages::Expose(env, pages);
  out["unmap"] = Napi::Function::New(
      env, [pages](const Napi::CallbackInfo& call) { return Napi::Number::New(call.Env(), pages->End()); });
  return out;
}

Napi::Value NewArena(const Napi::CallbackInfo& info) {
  const size_t asked = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  const size_t size = (asked + layout::PAGE_SIZE - 1) / layout::PAGE_SIZE * layout::PAGE_SIZE;
  void* start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return Napi::Number::New(info.Env(), -errno);
  return BufferObject(info.Env(), std::make_shared<OwnPages>(start, size));
}

}  // namespace vifd
