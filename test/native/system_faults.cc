// Preloaded into a process (LD_PRELOAD): calls of libc that fail, or are late, when a test asks for it.
//
// SYSTEM_FAULTS names a directory. While it has a file with the name of a call (`openat`), that call fails. The file's content says how:
// `ENOMEM 0 journal` fails calls whose path, or whose descriptor's, contains `journal`; `0 300 tun` executes calls 300 ms late. Without the
// directory every call is the C library's own.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Name {
  const char* name;
  int number;
};

constexpr Name kNames[] = {
    {"0", 0},           {"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EBUSY", EBUSY},   {"EINTR", EINTR},   {"EIO", EIO},
    {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"ENOBUFS", ENOBUFS}, {"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC}, {"EPERM", EPERM},   {"EROFS", EROFS},
};

int NumberOf(const char* name) {
  for (const Name& known : kNames)
    if (strcmp(known.name, name) == 0) return known.number;
  fprintf(stderr, "system_faults: no such errno: %s\n", name);
  abort();
}

// The fault that a file of the directory asks for. These calls bypass libc, because libc's functions are the replaced ones.
bool Read(const char* call, char* text, size_t size) {
  static const char* const directory = getenv("SYSTEM_FAULTS");
  if (directory == nullptr) return false;
  char path[512];
  snprintf(path, sizeof path, "%s/%s", directory, call);
  const long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const long length = syscall(SYS_read, fd, text, size - 1);
  syscall(SYS_close, fd);
  if (length <= 0) return false;
  text[length] = '\0';
  return true;
}

// Whether the call must fail; errno is set then. `what` is a path, or empty.
bool Fails(const char* call, const char* what) {
  const int before = errno;
  char text[256];
  if (!Read(call, text, sizeof text)) {
    errno = before;
    return false;
  }
  char name[16] = "0";
  char match[200] = "";
  long delay_ms = 0;
  sscanf(text, "%15s %ld %199s", name, &delay_ms, match);
  errno = before;
  if (match[0] != '\0' && strstr(what, match) == nullptr) return false;
  if (delay_ms > 0) {
    timespec left = {delay_ms / 1000, delay_ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
  }
  const int error = NumberOf(name);
  errno = error != 0 ? error : before;
  return error != 0;
}

// What a descriptor is open on, as /proc has it.
bool FailsAt(const char* call, int fd) {
  char text[8];
  // Most calls do not fail, and those must be cheap.
  const int before = errno;
  if (!Read(call, text, sizeof text)) {
    errno = before;
    return false;
  }
  char link[64];
  char target[256] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, target, sizeof target - 1);
  if (length > 0) target[length] = '\0';
  // A tap by its name, as in `/dev/net/tun:vif7.0`.
  ifreq tap = {};
  if (strcmp(target, "/dev/net/tun") == 0 && syscall(SYS_ioctl, fd, TUNGETIFF, &tap) == 0)
    snprintf(target, sizeof target, "/dev/net/tun:%s", tap.ifr_name);
  errno = before;
  return Fails(call, target);
}

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

mode_t ModeOf(int flags, va_list list) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))
#define REAL(name) static const auto real = Real<decltype(name)>(#name)

#define OPEN(name)                                    \
  EXPORT int name(const char* path, int flags, ...) { \
    va_list list;                                     \
    va_start(list, flags);                            \
    const mode_t mode = ModeOf(flags, list);          \
    va_end(list);                                     \
    REAL(name);                                       \
    return Fails("open", path) ? -1 : real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                           \
  EXPORT int name(int at, const char* path, int flags, ...) {  \
    va_list list;                                              \
    va_start(list, flags);                                     \
    const mode_t mode = ModeOf(flags, list);                   \
    va_end(list);                                              \
    REAL(name);                                                \
    return Fails("open", path) ? -1 : real(at, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

#define FALLOCATE(name, offset)                            \
  EXPORT int name(int fd, offset from, offset length) {    \
    REAL(name);                                            \
    return FailsAt("posix_fallocate", fd) ? errno : real(fd, from, length); \
  }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

// Without a file: `anonymous-BYTES`, so that mappings of one size can fail and V8's do not.
#define MMAP(name, offset)                                                                           \
  EXPORT void* name(void* start, size_t size, int rights, int flags, int fd, offset from) noexcept { \
    REAL(name);                                                                                      \
    char what[48];                                                                                   \
    snprintf(what, sizeof what, "anonymous-%zu-", size);                                             \
    const bool fails = fd < 0 ? Fails("mmap", what) : FailsAt("mmap", fd);                           \
    return fails ? MAP_FAILED : real(start, size, rights, flags, fd, from);                          \
  }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

EXPORT int socket(int family, int type, int protocol) noexcept {
  REAL(socket);
  char what[16];
  snprintf(what, sizeof what, "family-%d-", family);
  return Fails("socket", what) ? -1 : real(family, type, protocol);
}

EXPORT int connect(int fd, const sockaddr* address, socklen_t length) {
  REAL(connect);
  const char* path = address->sa_family == AF_UNIX ? reinterpret_cast<const sockaddr_un*>(address)->sun_path : "";
  return Fails("connect", path) ? -1 : real(fd, address, length);
}

EXPORT int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  REAL(accept4);
  return Fails("accept4", "") ? -1 : real(fd, address, length, flags);
}

EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  REAL(sendmsg);
  return FailsAt("sendmsg", fd) ? -1 : real(fd, message, flags);
}

EXPORT pid_t fork() noexcept {
  REAL(fork);
  return Fails("fork", "") ? -1 : real();
}

EXPORT int execvp(const char* file, char* const args[]) noexcept {
  REAL(execvp);
  return Fails("execvp", file) ? -1 : real(file, args);
}

// A signal that is not delivered: the caller hears of no error, as with a process that does not end for the kernel's own reasons.
EXPORT int kill(pid_t pid, int number) noexcept {
  REAL(kill);
  char what[16];
  snprintf(what, sizeof what, "signal-%d-", number);
  return Fails("kill", what) ? 0 : real(pid, number);
}

EXPORT ssize_t read(int fd, void* bytes, size_t length) {
  REAL(read);
  return FailsAt("read", fd) ? -1 : real(fd, bytes, length);
}

EXPORT ssize_t write(int fd, const void* bytes, size_t length) {
  REAL(write);
  return FailsAt("write", fd) ? -1 : real(fd, bytes, length);
}

EXPORT ssize_t writev(int fd, const iovec* pieces, int count) {
  REAL(writev);
  return FailsAt("writev", fd) ? -1 : real(fd, pieces, count);
}

EXPORT int mkdir(const char* path, mode_t mode) noexcept {
  REAL(mkdir);
  return Fails("mkdir", path) ? -1 : real(path, mode);
}

EXPORT int unlink(const char* path) noexcept {
  REAL(unlink);
  return Fails("unlink", path) ? -1 : real(path);
}

static const char* NameOf(long number) {
#ifdef SYS_io_uring_enter
  if (number == SYS_io_uring_enter) return "io_uring_enter";
#endif
  return number == SYS_bpf ? "bpf" : nullptr;
}

// io_uring and bpf go through here.
EXPORT long syscall(long number, ...) noexcept {
  using Raw = long(long, ...);
  static const auto real = reinterpret_cast<Raw*>(dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long words[6];
  for (long& word : words) word = va_arg(list, long);
  va_end(list);
  const char* const name = NameOf(number);
  static bool within = false;
  if (name != nullptr && !within) {
    within = true;
    const bool fails = Fails(name, "");
    within = false;
    if (fails) return -1;
  }
  return real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

// By how many seconds the date is wrong: the file `clock` has them, in milliseconds, in place of a delay.
static time_t Jump() {
  char text[64];
  long jump_ms = 0;
  return Read("clock", text, sizeof text) && sscanf(text, "%*s %ld", &jump_ms) == 1 ? jump_ms / 1000 : 0;
}

EXPORT int gettimeofday(timeval* now, void* zone) noexcept {
  REAL(gettimeofday);
  const int result = real(now, zone);
  if (result == 0) now->tv_sec += Jump();
  return result;
}

EXPORT int clock_gettime(clockid_t which, timespec* now) noexcept {
  REAL(clock_gettime);
  const int result = real(which, now);
  if (result == 0 && which == CLOCK_REALTIME) now->tv_sec += Jump();
  return result;
}
