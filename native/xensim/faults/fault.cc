#include "fault.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace xensim::faults {

namespace {

struct Name {
  const char* name;
  int number;
};

constexpr Name kNames[] = {
    {"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EBADF", EBADF},   {"EBUSY", EBUSY},       {"EFAULT", EFAULT},
    {"EINTR", EINTR},   {"EINVAL", EINVAL}, {"EIO", EIO},       {"EMFILE", EMFILE},     {"ENFILE", ENFILE},
    {"ENOBUFS", ENOBUFS}, {"ENODEV", ENODEV}, {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM},     {"ENOSPC", ENOSPC},
    {"ENOSYS", ENOSYS}, {"ENOTCONN", ENOTCONN}, {"ENXIO", ENXIO}, {"EPERM", EPERM},     {"ESRCH", ESRCH},
};

[[noreturn]] void Refuse(const std::string& path, const char* text) {
  fprintf(stderr, "xensim: %s: no such fault: %s\n", path.c_str(), text);
  abort();
}

int NumberOf(const std::string& path, const char* name) {
  for (const Name& known : kNames)
    if (strcmp(known.name, name) == 0) return known.number;
  Refuse(path, name);
}

void CountHit(const std::string& path) {
  const int fd = open((path + ".hits").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, ".", 1) != 1) abort();
  close(fd);
}

// The file's errno, or 0 when it was used up meanwhile. The lock is for two processes that count down the same file.
int TakeOne(const std::string& path, int fd) {
  flock(fd, LOCK_EX);
  char text[64] = {};
  if (pread(fd, text, sizeof text - 1, 0) <= 0) return 0;
  char name[16] = {};
  unsigned left = 0;
  const int fields = sscanf(text, "%15s %u", name, &left);
  if (fields < 1 || (fields == 2 && left == 0)) Refuse(path, text);
  if (strcmp(name, "DELAY") == 0) {
    timespec rest = {left / 1000, long(left % 1000) * 1000000};
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {
    }
    return 0;
  }
  const int error = NumberOf(path, name);
  if (fields == 2) {
    if (ftruncate(fd, 0) < 0) abort();
    if (left == 1) {
      unlink(path.c_str());
    } else {
      const std::string rest = std::string(name) + " " + std::to_string(left - 1);
      if (pwrite(fd, rest.data(), rest.size(), 0) < 0) abort();
    }
  }
  return error;
}

}  // namespace

bool Fails(const char* call, uint32_t domid) {
  return Fails((std::string(call) + "." + std::to_string(domid)).c_str()) || Fails(call);
}

bool Fails(const char* call) {
  const char* directory = getenv("XENSIM_FAULTS");
  if (directory == nullptr) return false;
  const std::string path = std::string(directory) + "/" + call;
  const int before = errno;
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  const int error = fd < 0 ? 0 : TakeOne(path, fd);
  if (fd >= 0) close(fd);
  if (error != 0) CountHit(path);
  errno = error != 0 ? error : before;
  return error != 0;
}

void* Find(const char* library, const char* name) {
  Dl_info here;
  if (dladdr(reinterpret_cast<void*>(&Find), &here) == 0) abort();
  const std::string file = here.dli_fname;
  const size_t slash = file.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : file.substr(0, slash);
  void* handle = dlopen((directory + "/../xensim/" + library).c_str(), RTLD_NOW | RTLD_LOCAL);
  void* found = handle == nullptr ? nullptr : dlsym(handle, name);
  if (found == nullptr) {
    fprintf(stderr, "xensim: %s\n", dlerror());
    abort();
  }
  return found;
}

}  // namespace xensim::faults
