#include "uvpoll.h"

#include <cerrno>
#include <cstdlib>

#ifdef VIFD_HAVE_UV_H
#include <uv.h>
#else
// The part of libuv's stable ABI that is used here, for machines with a node binary and no headers.
extern "C" {
struct uv_loop_s;
struct uv_handle_t;
struct uv_poll_t;
enum { UV_POLL = 8, UV_READABLE = 1 };
size_t uv_handle_size(int type);
int uv_poll_init(uv_loop_s* loop, uv_poll_t* handle, int fd);
int uv_poll_start(uv_poll_t* handle, int events, void (*callback)(uv_poll_t*, int status, int events));
int uv_poll_stop(uv_poll_t* handle);
void uv_unref(uv_handle_t* handle);
void uv_close(uv_handle_t* handle, void (*callback)(uv_handle_t*));
void uv_handle_set_data(uv_handle_t* handle, void* data);
void* uv_handle_get_data(const uv_handle_t* handle);
}
#endif

namespace vifd {

namespace {

uv_handle_t* Handle(void* memory) { return static_cast<uv_handle_t*>(memory); }
uv_poll_t* Poll(void* memory) { return static_cast<uv_poll_t*>(memory); }

}  // namespace

UvPoll::~UvPoll() { free(handle_); }

UvPoll* UvPoll::Open(napi_env env, int fd, std::function<void(int)> on_readable) {
  uv_loop_s* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) {
    errno = EINVAL;
    return nullptr;
  }
  auto* self = new UvPoll;
  self->handle_ = malloc(uv_handle_size(UV_POLL));
  self->on_readable_ = std::move(on_readable);
  const int status = uv_poll_init(loop, Poll(self->handle_), fd);
  if (status < 0) {
    delete self;
    errno = -status;
    return nullptr;
  }
  uv_handle_set_data(Handle(self->handle_), self);
  napi_add_async_cleanup_hook(env, OnEnvironmentEnd, self, &self->hook_);
  return self;
}

void UvPoll::Start() {
  if (active_ || closing_) return;
  active_ = true;
  uv_poll_start(Poll(handle_), UV_READABLE, [](uv_poll_t* handle, int status, int) {
    auto* self = static_cast<UvPoll*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(handle)));
    // libuv stops a poll that it reports an error for.
    if (status < 0) self->active_ = false;
    if (!self->closing_) self->on_readable_(status);
  });
}

void UvPoll::Stop() {
  if (!active_) return;
  active_ = false;
  uv_poll_stop(Poll(handle_));
}

void UvPoll::Unref() { uv_unref(Handle(handle_)); }

void UvPoll::Close() {
  if (closing_) return;
  closing_ = true;
  active_ = false;
  uv_close(Handle(handle_), [](uv_handle_t* handle) {
    auto* self = static_cast<UvPoll*>(uv_handle_get_data(handle));
    // The hook keeps the environment alive, which the objects that `on_readable_` captured may need to release their references.
    const napi_async_cleanup_hook_handle hook = self->hook_;
    delete self;
    if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
  });
}

void UvPoll::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* self) { static_cast<UvPoll*>(self)->Close(); }

}  // namespace vifd
