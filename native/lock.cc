#include "lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace vifd {

namespace {

// The offset of a byte, or the whole file.
using Part = int64_t;
constexpr Part kWhole = -1;

// A file of which this process has locked all, or some bytes.
struct LockedFile {
  int fd;
  std::set<Part> parts;
};

// A process's locks on a file end when it closes any descriptor of it (fcntl(2)): there is one descriptor for each path,
// and it stays open. Threads share it, as they share the locks.
std::mutex guard;
std::map<std::string, LockedFile> locked_files;

struct flock LockOf(short type, Part part) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = part == kWhole ? 0 : part;
  lock.l_len = part == kWhole ? 0 : 1;
  return lock;
}

// The pid of another process that has the lock, 0 if there is none, or -errno.
int HolderOf(int fd, Part part) {
  struct flock lock = LockOf(F_WRLCK, part);
  if (fcntl(fd, F_GETLK, &lock) < 0) return -errno;
  return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

// The locked file that `path` names now. nullptr if there is none: also if the file that this process has locked was deleted or replaced,
// because that lock excludes no other process.
LockedFile* LockedAt(const std::string& path, int* error) {
  *error = 0;
  const auto found = locked_files.find(path);
  if (found == locked_files.end()) return nullptr;
  struct stat ours {};
  struct stat there {};
  if (fstat(found->second.fd, &ours) < 0) {
    *error = -errno;
    return &found->second;
  }
  if (lstat(path.c_str(), &there) < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return nullptr;
    // A file whose state cannot be read counts as locked still.
    *error = -errno;
    return &found->second;
  }
  return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino ? &found->second : nullptr;
}

// Closes a deleted file. Call it before the path is opened again: if that finds the same file, a later close would end its locks.
void Close(const std::string& path) {
  const auto found = locked_files.find(path);
  if (found == locked_files.end()) return;
  close(found->second.fd);
  locked_files.erase(found);
}

// Returns 0 if this process has the lock from now on, the pid of the process that has it, or -errno.
int Acquire(int fd, Part part) {
  struct flock lock = LockOf(F_WRLCK, part);
  if (fcntl(fd, F_SETLK, &lock) == 0) return 0;
  if (errno != EAGAIN && errno != EACCES) return -errno;
  const int holder = HolderOf(fd, part);
  // The holder may have ended between the two calls.
  return holder == 0 ? -EAGAIN : holder;
}

int Lock(const std::string& path, Part part) {
  const std::lock_guard<std::mutex> locked(guard);
  int error = 0;
  if (LockedFile* file = LockedAt(path, &error); file != nullptr) {
    if (file->parts.count(part) != 0) return getpid();
    const int result = Acquire(file->fd, part);
    if (result == 0) file->parts.insert(part);
    return result;
  }
  Close(path);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return -errno;
  const int result = Acquire(fd, part);
  if (result == 0) {
    locked_files[path] = {fd, {part}};
  } else {
    close(fd);
  }
  return result;
}

int Holder(const std::string& path, Part part) {
  const std::lock_guard<std::mutex> locked(guard);
  int error = 0;
  if (const LockedFile* file = LockedAt(path, &error); file != nullptr)
    return file->parts.count(part) != 0 ? getpid() : HolderOf(file->fd, part);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno == ENOENT ? 0 : -errno;
  const int holder = HolderOf(fd, part);
  close(fd);
  return holder;
}

int Unlock(const std::string& path, Part part) {
  const std::lock_guard<std::mutex> locked(guard);
  const auto found = locked_files.find(path);
  if (found == locked_files.end() || found->second.parts.erase(part) == 0) return 0;
  const int fd = found->second.fd;
  if (!found->second.parts.empty()) {
    struct flock lock = LockOf(F_UNLCK, part);
    return fcntl(fd, F_SETLK, &lock) < 0 ? -errno : 0;
  }
  locked_files.erase(found);
  return close(fd) < 0 ? -errno : 0;
}

int Stands(const std::string& path, Part part) {
  const std::lock_guard<std::mutex> locked(guard);
  int error = 0;
  const LockedFile* file = LockedAt(path, &error);
  if (file == nullptr || file->parts.count(part) == 0) return 0;
  return error < 0 ? error : 1;
}

Napi::Value Respond(const Napi::CallbackInfo& info, int (*call)(const std::string&, Part)) {
  const Part part = info[1].IsNumber() ? info[1].As<Napi::Number>().Int64Value() : kWhole;
  return Napi::Number::New(info.Env(), call(info[0].As<Napi::String>().Utf8Value(), part));
}

}  // namespace

Napi::Value LockFile(const Napi::CallbackInfo& info) { return Respond(info, Lock); }
Napi::Value LockHolder(const Napi::CallbackInfo& info) { return Respond(info, Holder); }
Napi::Value LockStands(const Napi::CallbackInfo& info) { return Respond(info, Stands); }
Napi::Value UnlockFile(const Napi::CallbackInfo& info) { return Respond(info, Unlock); }

}  // namespace vifd
