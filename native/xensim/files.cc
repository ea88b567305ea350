#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "layout.h"

namespace xensim {

namespace {

// Never shrinks a file: another process may have it mapped.
bool ensure_size(int fd, const FileSpec &spec) {
  struct stat info;
  if (fstat(fd, &info) != 0) return false;
  if (uint64_t(info.st_size) >= spec.size) return true;
  // The directory's permissions decide who may take part, not the first opener's umask.
  fchmod(fd, 0666);
  int error = posix_fallocate(fd, 0, off_t(spec.tables));
  errno = error;
  // Last, because the next opener takes the size as a sign that this is complete.
  return error == 0 && ftruncate(fd, off_t(spec.size)) == 0;
}

bool check_magic(void *start, const FileSpec &spec, bool create) {
  auto &magic = *static_cast<std::atomic<uint64_t> *>(start);
  uint64_t found = magic.load(std::memory_order_acquire);
  if (found == 0 && create) {
    spec.initialise(start);
    magic.store(layout_magic, std::memory_order_release);
    return true;
  }
  errno = found == 0 ? ENOENT : EPROTO;
  return found == layout_magic;
}

void *map_checked(int fd, const FileSpec &spec, bool create) {
  struct stat info;
  if (create && !ensure_size(fd, spec)) return nullptr;
  if (fstat(fd, &info) != 0) return nullptr;
  if (uint64_t(info.st_size) < spec.size) {
    errno = ENOENT;
    return nullptr;
  }
  void *start = map_shared(fd, spec.size);
  if (start && !check_magic(start, spec, create)) {
    int error = errno;
    munmap(start, spec.size);
    errno = error;
    return nullptr;
  }
  return start;
}

}  // namespace

void *map_shared(int fd, uint64_t size) {
  void *start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) return nullptr;
  madvise(start, size, MADV_DONTFORK);
  return start;
}

void *open_shared(const std::string &path, const FileSpec &spec, bool create, int *fd) {
  *fd = open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
  if (*fd < 0) return nullptr;
  if (create) flock(*fd, LOCK_EX);
  void *start = map_checked(*fd, spec, create);
  int error = errno;
  // Explicitly: a mapping keeps the open file, and with it the lock, beyond close().
  if (create) flock(*fd, LOCK_UN);
  if (!start) {
    close(*fd);
    *fd = -1;
  }
  errno = error;
  return start;
}

}  // namespace xensim
