#include "watch.h"

#include <cerrno>
#include <memory>

#include "loop_call.h"
#include "uvpoll.h"

namespace vifd {

namespace {

struct Watched {
  Napi::AsyncContext context;
  Napi::FunctionReference on_readable;
};

}  // namespace

Napi::Value Watch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const std::shared_ptr<Watched> watched(
      new Watched{Napi::AsyncContext(env, "vifd:watch"), Napi::Persistent(info[1].As<Napi::Function>())});
  // Filled in below: the poll calls nothing before it is started.
  const auto own = std::make_shared<UvPoll*>(nullptr);
  UvPoll* poll = UvPoll::Open(env, fd, [watched, own](int status) {
    // libuv stops a poll after it has reported an error. The error may only mean that data was lost (a netlink socket), so the poll starts
    // again; the reader closes it if the descriptor is of no use.
    if (status < 0) (*own)->Start();
    CallFromLoop(watched->on_readable, watched->context);
  });
  if (poll == nullptr) return Napi::Number::New(env, -errno);
  *own = poll;
  if (info[2].ToBoolean()) poll->Unref();
  poll->Start();
  return Napi::Function::New(env, [poll, closed = false](const Napi::CallbackInfo&) mutable {
    if (!closed) poll->Close();
    closed = true;
  });
}

}  // namespace vifd
