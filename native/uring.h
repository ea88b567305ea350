// Many writes by one system call: as much of io_uring as that takes.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>

namespace vifd {

// For one thread. Every call ends with nothing in flight: memory that was written from is the caller's again, and a
// process that dies in between leaves nothing behind but writes that were done or not.
class Uring {
 public:
  // nullptr where the kernel has no io_uring, or keeps it from this process (seccomp, kernel.io_uring_disabled).
  static std::unique_ptr<Uring> Open();
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  bool full() const { return queued_ == ENTRIES; }
  uint32_t queued() const { return queued_; }

  // Queues a write of `pieces` to a descriptor that is non-blocking. `result` gets what write(2) would return, or
  // -errno; both must live until Submit. Not when full().
  void Write(int fd, const iovec* pieces, int count, int32_t* result);

  // Does what was queued, in that order, and waits for it. False when the ring itself failed: results that nobody
  // wrote stay as they were, and the ring is not to be used again.
  bool Submit();

 private:
  static constexpr uint32_t ENTRIES = 64;
  struct Rings;

  Uring() = default;
  bool Map(const void* params);
  uint32_t Reap();

  int fd_ = -1;
  uint32_t queued_ = 0;
  int32_t* results_[ENTRIES] = {};
  std::unique_ptr<Rings> rings_;
};

}  // namespace vifd
