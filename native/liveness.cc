#include "liveness.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <memory>

#include "layout.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

namespace vifd {

namespace {

// The worker holds a robust mutex of the C library, since a thread has only one robust list and the C library owns it. A watcher never passes
// the mutex to the C library: a worker may have written anything there. It uses one word of it, by the kernel's ABI for robust futexes
// (get_robust_list(2), Documentation/locking/robust-futex-ABI.rst): the id of the holding thread, and FUTEX_OWNER_DIED once that thread has
// ended. So the worst that a worker can do is to hide its death, or to claim it. The page has room for more words at its end; those that are
// there stay where they are, since a worker may be older than its supervisor.
struct Page {
  pthread_mutex_t mutex;
};
static_assert(sizeof(Page) <= layout::PAGE_SIZE);

using Word = const volatile uint32_t;

// Without it another process could cut the page off, and the next access would be a SIGBUS.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
// If a worker's other threads take the kernel's one wake-up, the watcher sees the death so much later.
constexpr timespec kStep = {1, 0};
// A worker can wake its watchers as often as it likes.
constexpr timespec kPause = {0, 1'000'000};
constexpr timespec kRetry = {0, 100'000};

int Futex(Word* word, int operation, uint32_t value, const timespec* timeout) {
  return static_cast<int>(syscall(SYS_futex, word, operation, value, timeout, nullptr, 0));
}

// Wakes all watchers: the kernel wakes one of them.
void WakeAll(Word* word) { Futex(word, FUTEX_WAKE, INT_MAX, nullptr); }

// Returns 0 or -errno.
int InitMutex(pthread_mutex_t* mutex) {
  pthread_mutexattr_t attributes;
  if (const int error = pthread_mutexattr_init(&attributes); error != 0) return -error;
  int error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (error == 0) error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  if (error == 0) error = pthread_mutex_init(mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  return -error;
}

// Returns where the kernel's word lies in a pthread_mutex_t, or -errno. C libraries differ, so a mutex of this thread is looked up in the
// thread's robust list.
int FindWord() {
  pthread_mutex_t mutex;
  if (const int error = InitMutex(&mutex); error < 0) return error;
  if (const int error = pthread_mutex_lock(&mutex); error != 0) return -error;
  robust_list_head* head = nullptr;
  size_t length = 0;
  int found = -ENOTSUP;
  if (syscall(SYS_get_robust_list, 0, &head, &length) < 0) {
    found = -errno;
  } else {
    const auto entry = reinterpret_cast<uintptr_t>(head->list.next);
    const intptr_t at = static_cast<intptr_t>(entry) + head->futex_offset - reinterpret_cast<intptr_t>(&mutex);
    if (at >= 0 && at % 4 == 0 && at <= static_cast<intptr_t>(sizeof mutex - sizeof(uint32_t))) found = static_cast<int>(at);
  }
  pthread_mutex_unlock(&mutex);
  pthread_mutex_destroy(&mutex);
  return found;
}

int WordOffset() {
  static const int offset = FindWord();
  return offset;
}

// Maps the page. Returns nullptr and sets errno: EPERM for a file that another process could cut off.
Page* Map(int fd, int protection) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return nullptr;
  struct stat stats = {};
  if (fstat(fd, &stats) < 0) return nullptr;
  if ((seals & F_SEAL_SHRINK) == 0 || stats.st_size < static_cast<off_t>(layout::PAGE_SIZE)) {
    errno = EPERM;
    return nullptr;
  }
  void* start = mmap(nullptr, layout::PAGE_SIZE, protection, MAP_SHARED, fd, 0);
  return start == MAP_FAILED ? nullptr : static_cast<Page*>(start);
}

void Unmap(const Page* page) { munmap(const_cast<Page*>(page), layout::PAGE_SIZE); }

Word* WordOf(const Page* page) { return reinterpret_cast<Word*>(reinterpret_cast<const char*>(page) + WordOffset()); }

// Makes a page whose mutex is free. Returns 0 or -errno.
int Prepare(int fd) {
  if (ftruncate(fd, layout::PAGE_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, kSeals) < 0) return -errno;
  Page* page = Map(fd, PROT_READ | PROT_WRITE);
  if (page == nullptr) return -errno;
  const int error = InitMutex(&page->mutex);
  Unmap(page);
  return error;
}

// Waits in a thread of its own for the end of the thread that holds a page, and then makes `descriptor` readable.
class LivenessWatch {
 public:
  LivenessWatch() = default;
  LivenessWatch(const LivenessWatch&) = delete;
  LivenessWatch& operator=(const LivenessWatch&) = delete;
  ~LivenessWatch() { Close(); }

  // Returns 0 or -errno.
  int Open(int fd) {
    // Nothing is written: a page that a worker has spoilt cannot lead this process to write.
    page_ = Map(fd, PROT_READ);
    if (page_ == nullptr) return -errno;
    event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_ < 0) return -errno;
    // Signals are for threads that Node knows.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&thread_, nullptr, Run, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    running_ = error == 0;
    return -error;
  }

  // Idempotent. Waits for the thread, which takes 0.1 ms, or 1 ms after the worker has woken it for nothing.
  void Close() {
    if (running_) Join();
    running_ = false;
    if (event_ >= 0) close(event_);
    event_ = -1;
    if (page_ != nullptr) Unmap(page_);
    page_ = nullptr;
  }

  int descriptor() const { return event_; }

 private:
  static void* Run(void* self) {
    static_cast<LivenessWatch*>(self)->Wait();
    return nullptr;
  }

  void Wait() {
    Word* word = WordOf(page_);
    while (!stop_.load()) {
      const uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
      if ((seen & FUTEX_OWNER_DIED) != 0) {
        eventfd_write(event_, 1);
        WakeAll(word);
        break;
      }
      // Unless a second has passed, another watcher closes, the page is being taken, or the worker plays.
      const bool passed = Futex(word, FUTEX_WAIT, seen, &kStep) < 0 && errno == ETIMEDOUT;
      if (!passed && !stop_.load() && !IsDead(word)) nanosleep(&kPause, nullptr);
    }
    ended_.store(true);
  }

  static bool IsDead(Word* word) { return (__atomic_load_n(word, __ATOMIC_ACQUIRE) & FUTEX_OWNER_DIED) != 0; }

  void Join() {
    stop_.store(true);
    // The thread may be just before its wait, so that one wake-up is not enough.
    while (!ended_.load()) {
      WakeAll(WordOf(page_));
      nanosleep(&kRetry, nullptr);
    }
    pthread_join(thread_, nullptr);
  }

  const Page* page_ = nullptr;
  int event_ = -1;
  pthread_t thread_ = {};
  bool running_ = false;
  std::atomic<bool> stop_{false};
  std::atomic<bool> ended_{false};
};

int DescriptorIn(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

// Takes the mutex. Returns nullptr and sets errno.
Page* Hold(int fd) {
  // The mutex is released when this thread ends, and other threads may end before the process does.
  if (syscall(SYS_gettid) != getpid()) {
    errno = EPERM;
    return nullptr;
  }
  if (WordOffset() < 0) {
    errno = -WordOffset();
    return nullptr;
  }
  // The kernel would write the dump before the thread ends. It ignores the limit for a program that receives dumps (core(5)), except for the
  // value 1, which is too small for a file too (fs/coredump.c).
  constexpr rlimit kNoDump = {1, 1};
  if (setrlimit(RLIMIT_CORE, &kNoDump) < 0) return nullptr;
  Page* page = Map(fd, PROT_READ | PROT_WRITE);
  if (page == nullptr) return nullptr;
  const int taken = pthread_mutex_trylock(&page->mutex);
  if (taken == 0) {
    // Now the kernel wakes a watcher at the end, although watchers write nothing. Those that came before wait for another value.
    auto* word = const_cast<uint32_t*>(WordOf(page));
    __atomic_fetch_or(word, FUTEX_WAITERS, __ATOMIC_RELEASE);
    WakeAll(word);
    return page;
  }
  // A page is for one process: without pthread_mutex_consistent no other can have it.
  if (taken == EOWNERDEAD) pthread_mutex_unlock(&page->mutex);
  Unmap(page);
  errno = EBUSY;
  return nullptr;
}

}  // namespace

Napi::Value MakeLiveness(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (WordOffset() < 0) return Napi::Number::New(env, WordOffset());
  const int fd = memfd_create("vifd-liveness", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Napi::Number::New(env, -errno);
  const int error = Prepare(fd);
  if (error < 0) close(fd);
  return Napi::Number::New(env, error < 0 ? error : fd);
}

Napi::Value HoldLiveness(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  // Stays mapped until the process ends: the thread's robust list points into it.
  if (Hold(DescriptorIn(info)) == nullptr) return Napi::Number::New(env, -errno);
  return Napi::Number::New(env, 0);
}

Napi::Value WatchLiveness(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (WordOffset() < 0) return Napi::Number::New(env, WordOffset());
  const auto watch = std::make_shared<LivenessWatch>();
  if (const int error = watch->Open(DescriptorIn(info)); error < 0) return Napi::Number::New(env, error);
  Napi::Object out = Napi::Object::New(env);
  out["descriptor"] = watch->descriptor();
  out["close"] = Napi::Function::New(env, [watch](const Napi::CallbackInfo& call) {
    watch->Close();
    return call.Env().Undefined();
  });
  return out;
}

Napi::Value OpenProcess(const Napi::CallbackInfo& info) {
  // The kernel sets close-on-exec (pidfd_open(2)).
  const long fd = syscall(SYS_pidfd_open, DescriptorIn(info), 0);
  return Napi::Number::New(info.Env(), fd < 0 ? -errno : static_cast<double>(fd));
}

}  // namespace vifd
