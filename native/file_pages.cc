#include "file_pages.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

#include "layout.h"
#include "memory.h"

namespace vifd {

namespace {

// A mapped file, for the signal handler. Nodes are used again and never freed, so that the handler can walk them.
struct Watched {
  std::atomic<uintptr_t> start{0};
  std::atomic<size_t> size{0};
  std::atomic<bool> cut{false};
  Watched* next = nullptr;
};

std::atomic<Watched*> watched_files{nullptr};
std::mutex watching;
struct sigaction before_us;

// An access beyond the end of a truncated file raises SIGBUS. The handler maps zeros there and the instruction runs again, because a guest
// must not lose its backend when a file is truncated. mmap(2) is a plain system call here, and safe in a handler.
void OnBusError(int signal, siginfo_t* info, void* context) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Watched* file = watched_files.load(std::memory_order_acquire); file != nullptr; file = file->next) {
    const uintptr_t start = file->start.load(std::memory_order_acquire);
    if (start == 0 || at < start || at - start >= file->size.load(std::memory_order_acquire)) continue;
    const int error = errno;
    void* page = reinterpret_cast<void*>(at & ~uintptr_t{layout::PAGE_SIZE - 1});
    const void* zeros = mmap(page, layout::PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = error;
    if (zeros == MAP_FAILED) break;
    file->cut.store(true, std::memory_order_release);
    return;
  }
  if ((before_us.sa_flags & SA_SIGINFO) != 0 && before_us.sa_sigaction != nullptr) {
    before_us.sa_sigaction(signal, info, context);
  } else {
    // The address is not in a file of ours: restores the earlier handler, and the instruction runs again.
    sigaction(SIGBUS, &before_us, nullptr);
  }
}

Watched* Watch(void* start, size_t size) {
  const std::lock_guard<std::mutex> lock(watching);
  static bool handled = false;
  if (!handled) {
    struct sigaction ours {};
    ours.sa_sigaction = OnBusError;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    handled = sigaction(SIGBUS, &ours, &before_us) == 0;
  }
  Watched* file = watched_files.load();
  while (file != nullptr && file->start.load() != 0) file = file->next;
  if (file == nullptr) {
    file = new Watched;
    file->next = watched_files.load();
    watched_files.store(file, std::memory_order_release);
  }
  file->cut.store(false);
  file->size.store(size);
  file->start.store(reinterpret_cast<uintptr_t>(start), std::memory_order_release);
  return file;
}

class FilePages : public OwnPages {
 public:
  FilePages(void* start, size_t size) : OwnPages(start, size), file_(Watch(start, size)) {}
  ~FilePages() override {
    Forget();
    Finish();
  }

  bool cut() const { return cut_ || (file_ != nullptr && file_->cut.load()); }

 protected:
  int Release() override {
    Forget();
    return OwnPages::Release();
  }

 private:
  void Forget() {
    if (file_ == nullptr) return;
    cut_ = file_->cut.load();
    file_->start.store(0, std::memory_order_release);
    file_ = nullptr;
  }

  Watched* file_;
  bool cut_ = false;
};

}  // namespace

Napi::Value MapFile(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const size_t size = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
  const auto failed = [&info](int error) { return Napi::Number::New(info.Env(), -error); };
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return failed(errno);
  // Allocates the blocks now: a store to a page for which a full disk has no room would raise SIGBUS.
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(size));
  void* start = error == 0 ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  const int mapped = errno;
  close(fd);
  if (error != 0) return failed(error);
  if (start == MAP_FAILED) return failed(mapped);
  const auto pages = std::make_shared<FilePages>(start, size);
  Napi::Object out = BufferObject(info.Env(), pages);
  out["cut"] = Napi::Function::New(
      info.Env(), [pages](const Napi::CallbackInfo& call) { return Napi::Boolean::New(call.Env(), pages->cut()); });
  return out;
}

}  // namespace vifd
