// Submits many writes by one system call, with the few parts of io_uring that this needs.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>

namespace vifd {

// For one thread. At the end of every call no write is in flight: the caller may use the memory again, and a process that dies during a call
// leaves only writes that were done or not done.
class Uring {
 public:
  // Returns nullptr if the kernel has no io_uring, or forbids it to this process (seccomp, kernel.io_uring_disabled).
  static std::unique_ptr<Uring> Open();
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  bool full() const { return queued_ == ENTRIES; }
  uint32_t queued() const { return queued_; }

  // Queues a write of `pieces` to a non-blocking descriptor. `result` gets the result of write(2), or -errno; both must exist until Submit.
  // Not when full().
  void Write(int fd, const iovec* pieces, int count, int32_t* result);

  // Executes the queued writes in that order, and waits for them. Returns false if the ring itself failed: results that were not written stay
  // unchanged, and the ring must not be used again.
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
