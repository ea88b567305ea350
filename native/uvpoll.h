// One file descriptor watched on the event loop of the environment that asked for it.
#pragma once

#include <node_api.h>

#include <functional>

namespace vifd {

// Closes itself when its environment ends: a worker that is terminated with an open uv_poll would abort the whole
// process (`uv_loop_close() while having open handles`).
class UvPoll {
 public:
  // Returns nullptr and sets errno when the descriptor cannot be polled.
  static UvPoll* Open(napi_env env, int fd, std::function<void(int status)> on_readable);

  // An active poll keeps the loop alive, unless Unref() was called; a stopped one does not.
  void Start();
  void Unref();
  void Stop();
  // The object is gone afterwards. `on_readable` is not called again.
  void Close();
  bool active() const { return active_; }

 private:
  UvPoll() = default;
  ~UvPoll();
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* self);

  void* handle_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::function<void(int)> on_readable_;
  bool active_ = false;
  bool closing_ = false;
};

}  // namespace vifd
