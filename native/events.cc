#include "events.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "loop_call.h"
#include "memory.h"
#include "uvpoll.h"

namespace vifd {

namespace {

uint32_t Number(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().Uint32Value(); }

int Errno(int result) { return result < 0 ? -errno : result; }

// One handle on /dev/xen/evtchn. The poll has a reference to it, so it exists until `Close`, or until its environment ends.
class EventPorts : public std::enable_shared_from_this<EventPorts> {
 public:
  EventPorts(Napi::Env env, std::shared_ptr<XenLib> lib, EvtchnHandle* handle, const Napi::Int32Array& block,
             const Napi::Function& on_events)
      : lib_(std::move(lib)), handle_(handle), context_(env, "vifd:events"), block_(block),
        on_events_(Napi::Persistent(on_events)) {}

  ~EventPorts() { CloseHandle(); }

  // Returns 0 or -errno.
  int Listen(Napi::Env env) {
    const int fd = lib_->evtchn_fd(handle_);
    // vifd reads ports until none is left; a blocking read would then stop the event loop.
    if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) return -errno;
    poll_ = UvPoll::Open(env, fd, [self = shared_from_this()](int status) { self->Deliver(status); });
    return poll_ == nullptr ? -errno : 0;
  }

  int Bind(uint32_t domid, uint32_t port) { return Bound(lib_->evtchn_bind_interdomain(handle_, domid, port)); }
  int BindUnbound(uint32_t domid) { return Bound(lib_->evtchn_bind_unbound_port(handle_, domid)); }

  // Counts a port as bound that another process has bound by this handle. The notification tells whether it is.
  int Adopt(uint32_t port) {
    const int error = Notify(port);
    return error < 0 ? error : Bound(static_cast<int>(port));
  }

  int Notify(uint32_t port) { return Errno(lib_->evtchn_notify(handle_, port)); }
  int Unmask(uint32_t port) { return Errno(lib_->evtchn_unmask(handle_, port)); }

  int Unbind(uint32_t port) {
    if (lib_->evtchn_unbind(handle_, port) < 0) return -errno;
    // With no bound port no event can come, and an idle handle must not prevent the end of the process.
    if (bound_ > 0 && --bound_ == 0) poll_->Stop();
    return 0;
  }

  int Restrict(uint32_t domid) {
    if (lib_->evtchn_restrict == nullptr) return -ENOSYS;
    return Errno(lib_->evtchn_restrict(handle_, static_cast<uint16_t>(domid)));
  }

  int Descriptor() { return lib_->evtchn_fd(handle_); }

  bool open() const { return handle_ != nullptr; }

  // Reads again after an error has ended reading. Returns how many ports stand in the block, or -errno.
  int Resume() {
    if (!block_.intact()) return -EFAULT;
    const int status = Take();
    if (status >= 0 && bound_ > 0) poll_->Start();
    return status;
  }

  void Close() {
    if (handle_ == nullptr) return;
    // Closes the poll first: libuv must not watch a descriptor number that may soon name another file.
    poll_->Close();
    poll_ = nullptr;
    CloseHandle();
    // These references prevent the collection of JavaScript functions, and of all that those capture.
    on_events_.Reset();
    block_.Reset();
  }

 private:
  int Bound(int port) {
    if (port < 0) return -errno;
    bound_++;
    poll_->Start();
    return port;
  }

  void CloseHandle() {
    if (handle_ != nullptr) lib_->evtchn_close(handle_);
    handle_ = nullptr;
  }

  void Deliver(int status) {
    if (handle_ == nullptr) return;
    const Napi::HandleScope scope(on_events_.Env());
    if (!block_.intact()) return poll_->Stop();
    if (status >= 0) status = Take();
    if (status < 0) poll_->Stop();
    reinterpret_cast<int32_t*>(block_.words())[0] = status;
    if (status != 0) CallFromLoop(on_events_, context_);
  }

  // Returns how many ports have an event, written behind the block's first word, or -errno. Ports that do not fit stay readable, so the poll
  // fires again.
  int Take() {
    int32_t* ports = reinterpret_cast<int32_t*>(block_.words()) + 1;
    const auto room = static_cast<int32_t>(block_.size() / sizeof(int32_t)) - 1;
    return lib_->CanShare() ? TakeEach(ports, room) : TakeAll(ports, room);
  }

  // Returns how many ports have an event, or -errno. One read(2) of Linux's driver returns all of them. The library's xenevtchn_pending makes
  // one call for each port, and one more to find that there is none.
  int TakeAll(int32_t* ports, int32_t room) {
    for (;;) {
      const ssize_t bytes = read(lib_->evtchn_fd(handle_), ports, static_cast<size_t>(room) * sizeof(int32_t));
      if (bytes >= 0) return static_cast<int>(bytes / ssize_t{sizeof(int32_t)});
      if (errno != EINTR) return errno == EAGAIN ? 0 : -errno;
    }
  }

  // The same for a simulated Xen, whose descriptor only its library can read. The library masks a port that it returns, so each is found
  // once.
  int TakeEach(int32_t* ports, int32_t room) {
    int32_t count = 0;
    while (count < room) {
      const int port = lib_->evtchn_pending(handle_);
      if (port >= 0) {
        ports[count++] = port;
      } else if (errno != EINTR) {
        return count > 0 || errno == EAGAIN ? count : -errno;
      }
    }
    return count;
  }

  std::shared_ptr<XenLib> lib_;
  EvtchnHandle* handle_;
  UvPoll* poll_ = nullptr;
  uint32_t bound_ = 0;
  Napi::AsyncContext context_;
  Pin block_;
  Napi::FunctionReference on_events_;
};

// A method that returns a number: -EBADF once the handle is closed.
template <typename Call>
void Method(Napi::Object out, const char* name, const std::shared_ptr<EventPorts>& ports, Call call) {
  out[name] = Napi::Function::New(
      out.Env(),
      [ports, call](const Napi::CallbackInfo& info) {
        return Napi::Number::New(info.Env(), ports->open() ? call(*ports, info) : -EBADF);
      },
      name);
}

// Opens a handle on a duplicate of another process's descriptor. Returns nullptr with errno.
EvtchnHandle* OpenDuplicate(const XenLib& lib, int descriptor) {
  if (lib.evtchn_fdopen == nullptr) {
    errno = ENOSYS;
    return nullptr;
  }
  const int duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) return nullptr;
  EvtchnHandle* handle = lib.evtchn_fdopen(SilentLogger(), duplicate, 0);
  if (handle == nullptr) {
    const int error = errno;
    close(duplicate);
    errno = error;
  }
  return handle;
}

}  // namespace

Napi::Value OpenEvents(const Napi::CallbackInfo& info, const std::shared_ptr<XenLib>& lib) {
  const Napi::Env env = info.Env();
  EvtchnHandle* handle = info[2].IsNumber() ? OpenDuplicate(*lib, info[2].As<Napi::Number>().Int32Value())
                                            : lib->evtchn_open(SilentLogger(), 0);
  if (handle == nullptr) return Napi::Number::New(env, -errno);
  const auto ports = std::make_shared<EventPorts>(env, lib, handle, info[0].As<Napi::Int32Array>(),
                                                  info[1].As<Napi::Function>());
  if (const int error = ports->Listen(env); error < 0) return Napi::Number::New(env, error);

  using Info = const Napi::CallbackInfo&;
  Napi::Object out = Napi::Object::New(env);
  Method(out, "bind", ports, [](EventPorts& self, Info call) { return self.Bind(Number(call, 0), Number(call, 1)); });
  Method(out, "bindUnbound", ports, [](EventPorts& self, Info call) { return self.BindUnbound(Number(call, 0)); });
  Method(out, "notify", ports, [](EventPorts& self, Info call) { return self.Notify(Number(call, 0)); });
  Method(out, "unmask", ports, [](EventPorts& self, Info call) { return self.Unmask(Number(call, 0)); });
  Method(out, "unbind", ports, [](EventPorts& self, Info call) { return self.Unbind(Number(call, 0)); });
  Method(out, "adopt", ports, [](EventPorts& self, Info call) { return self.Adopt(Number(call, 0)); });
  Method(out, "descriptor", ports, [](EventPorts& self, Info) { return self.Descriptor(); });
  Method(out, "restrict", ports, [](EventPorts& self, Info call) { return self.Restrict(Number(call, 0)); });
  Method(out, "resume", ports, [](EventPorts& self, Info) { return self.Resume(); });
  Method(out, "close", ports, [](EventPorts& self, Info) {
    self.Close();
    return 0;
  });
  return out;
}

}  // namespace vifd
