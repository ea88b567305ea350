#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "layout.h"

namespace vifd {

Napi::ArrayBuffer ExternalBuffer(Napi::Env env, void* data, size_t size, std::shared_ptr<void> owner) {
  auto* hint = new std::shared_ptr<void>(std::move(owner));
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, data, size, [](napi_env, void*, void* held) { delete static_cast<std::shared_ptr<void>*>(held); }, hint,
      &buffer);
  if (status == napi_ok) return Napi::ArrayBuffer(env, buffer);
  delete hint;
  if (status == napi_no_external_buffers_allowed) {
    throw Napi::Error::New(env, "this JavaScript runtime forbids external memory; vifd needs an official Node.js build");
  }
  throw Napi::Error::New(env);
}

Pin::Pin(const Napi::TypedArray& array)
    : buffer_(Napi::Persistent(array.ArrayBuffer().As<Napi::Object>())), size_(array.ByteLength()) {
  data_ = static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
}

void Pin::Check() const {
  bool detached = true;
  napi_is_detached_arraybuffer(buffer_.Env(), buffer_.Value(), &detached);
  if (detached) throw Napi::TypeError::New(buffer_.Env(), "the memory of this batch has been detached");
}

namespace {

struct Pages {
  void* start;
  size_t size;
  ~Pages() { munmap(start, size); }
};

}  // namespace

Napi::Value NewArena(const Napi::CallbackInfo& info) {
  const size_t asked = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  const size_t size = (asked + layout::PAGE_SIZE - 1) / layout::PAGE_SIZE * layout::PAGE_SIZE;
  void* start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) {
    throw Napi::Error::New(info.Env(), std::string("cannot allocate an arena of ") + std::to_string(size) +
                                           " bytes: " + strerror(errno));
  }
  return ExternalBuffer(info.Env(), start, size, std::shared_ptr<Pages>(new Pages{start, size}));
}

// mapFile(path, bytes): a file of that length as memory that outlives the process, or -errno. Grown files are zeroed.
Napi::Value MapFile(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const size_t size = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
  const auto failed = [&info](int error) { return Napi::Number::New(info.Env(), -error); };
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return failed(errno);
  // Really allocated: a store to a page that a full disk cannot give would be a SIGBUS.
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(size));
  void* start = error == 0 ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  const int mapped = errno;
  close(fd);
  if (error != 0) return failed(error);
  if (start == MAP_FAILED) return failed(mapped);
  return ExternalBuffer(info.Env(), start, size, std::shared_ptr<Pages>(new Pages{start, size}));
}

}  // namespace vifd
