// Many writes by one system call: what of io_uring native/uring.cc uses too.
#pragma once

#include <cstdint>
#include <memory>

namespace bench {

class Uring {
 public:
  static constexpr uint32_t kEntries = 64;

  // nullptr where the kernel has no io_uring for this process.
  static std::unique_ptr<Uring> Open();
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  bool full() const { return queued_ == kEntries; }
  uint32_t queued() const { return queued_; }

  // Queues a write to a descriptor that is non-blocking. Not when full().
  void Write(int fd, const void* start, uint32_t bytes);

  // Does what was queued, by one io_uring_enter, and waits for it. Returns the first errno of a write, or 0. Throws
  // std::runtime_error when the ring itself failed.
  int Submit();

 private:
  struct Rings;

  Uring() = default;
  bool Map(const void* params);
  // Returns how many writes have ended.
  uint32_t Reap(int* error);

  int fd_ = -1;
  uint32_t queued_ = 0;
  std::unique_ptr<Rings> rings_;
};

}  // namespace bench
