#include "lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>
#include <string>

namespace vifd {

namespace {

// A process's locks on a file end when it closes any descriptor of it (fcntl(2)): there is one descriptor for each path,
// and it stays open. Threads share it, as they share the lock.
std::mutex guard;
std::map<std::string, int> held;

struct flock Whole(short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

// The holder's pid, 0 for none, or -errno. Not fit for files that this process has locked: it closes a descriptor.
int HolderOf(int fd) {
  struct flock lock = Whole(F_WRLCK);
  if (fcntl(fd, F_GETLK, &lock) < 0) return -errno;
  return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

// 1 while the file that this process has locked is what `path` names, 0 when it was deleted or replaced, or was never locked.
int StandsIn(const std::string& path) {
  const auto found = held.find(path);
  if (found == held.end()) return 0;
  struct stat ours {};
  struct stat there {};
  if (fstat(found->second, &ours) < 0) return -errno;
  if (lstat(path.c_str(), &there) < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
  return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino ? 1 : 0;
}

// What was deleted keeps no other process out. Closed before another is opened, which may be the same file under its old name.
void LetGoOf(const std::string& path) {
  const auto found = held.find(path);
  if (found == held.end()) return;
  close(found->second);
  held.erase(found);
}

int Lock(const std::string& path) {
  const std::lock_guard<std::mutex> locked(guard);
  if (StandsIn(path) != 0) return getpid();
  LetGoOf(path);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return -errno;
  struct flock lock = Whole(F_WRLCK);
  if (fcntl(fd, F_SETLK, &lock) == 0) {
    held[path] = fd;
    return 0;
  }
  const int refused = errno;
  const int holder = refused == EAGAIN || refused == EACCES ? HolderOf(fd) : -refused;
  close(fd);
  // It may have ended between the two calls.
  return holder == 0 ? -EAGAIN : holder;
}

int Holder(const std::string& path) {
  const std::lock_guard<std::mutex> locked(guard);
  if (StandsIn(path) != 0) return getpid();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno == ENOENT ? 0 : -errno;
  const int holder = HolderOf(fd);
  close(fd);
  return holder;
}

int Unlock(const std::string& path) {
  const std::lock_guard<std::mutex> locked(guard);
  const auto found = held.find(path);
  if (found == held.end()) return 0;
  const int fd = found->second;
  held.erase(found);
  return close(fd) < 0 ? -errno : 0;
}

int Stands(const std::string& path) {
  const std::lock_guard<std::mutex> locked(guard);
  return StandsIn(path);
}

Napi::Value Answer(const Napi::CallbackInfo& info, int (*call)(const std::string&)) {
  return Napi::Number::New(info.Env(), call(info[0].As<Napi::String>().Utf8Value()));
}

}  // namespace

Napi::Value LockFile(const Napi::CallbackInfo& info) { return Answer(info, Lock); }
Napi::Value LockHolder(const Napi::CallbackInfo& info) { return Answer(info, Holder); }
Napi::Value LockStands(const Napi::CallbackInfo& info) { return Answer(info, Stands); }
Napi::Value UnlockFile(const Napi::CallbackInfo& info) { return Answer(info, Unlock); }

}  // namespace vifd
