#include "uring.h"

#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vifd {

// Linux 5.6 has the unvectored write; the headers of that version define this name.
#ifdef IORING_FEAT_CUR_PERSONALITY

// Memory that the kernel shares, at the offsets that io_uring_setup(2) returned.
struct Uring::Rings {
  void* memory = MAP_FAILED;
  size_t size = 0;
  void* entries_memory = MAP_FAILED;
  size_t entries_size = 0;
  io_uring_sqe* entries = nullptr;
  io_uring_cqe* completions = nullptr;
  uint32_t* submission_tail = nullptr;
  uint32_t* submission_indices = nullptr;
  uint32_t submission_mask = 0;
  uint32_t* completion_head = nullptr;
  uint32_t* completion_tail = nullptr;
  uint32_t completion_mask = 0;

  ~Rings() {
    if (memory != MAP_FAILED) munmap(memory, size);
    if (entries_memory != MAP_FAILED) munmap(entries_memory, entries_size);
  }
};

std::unique_ptr<Uring> Uring::Open() {
  std::unique_ptr<Uring> ring(new Uring);
  io_uring_params params{};
  ring->fd_ = static_cast<int>(syscall(SYS_io_uring_setup, ENTRIES, &params));
  // Linux 5.4 brought one mapping for both rings, and 5.6 IORING_FEAT_CUR_PERSONALITY.
  constexpr uint32_t needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_CUR_PERSONALITY;
  if (ring->fd_ < 0 || (params.features & needed) != needed || !ring->Map(&params)) return nullptr;
  return ring;
}

Uring::~Uring() {
  if (fd_ >= 0) close(fd_);
}

bool Uring::Map(const void* setup) {
  const auto& params = *static_cast<const io_uring_params*>(setup);
  rings_ = std::make_unique<Rings>();
  Rings& rings = *rings_;
  rings.size = std::max<size_t>(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                                params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  rings.entries_size = params.sq_entries * sizeof(io_uring_sqe);
  const auto map = [this](size_t size, off_t what) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, what);
  };
  rings.memory = map(rings.size, IORING_OFF_SQ_RING);
  rings.entries_memory = map(rings.entries_size, IORING_OFF_SQES);
  if (rings.memory == MAP_FAILED || rings.entries_memory == MAP_FAILED) return false;

  auto* base = static_cast<uint8_t*>(rings.memory);
  const auto words = [base](uint32_t offset) { return reinterpret_cast<uint32_t*>(base + offset); };
  rings.entries = static_cast<io_uring_sqe*>(rings.entries_memory);
  rings.completions = reinterpret_cast<io_uring_cqe*>(base + params.cq_off.cqes);
  rings.submission_tail = words(params.sq_off.tail);
  rings.submission_indices = words(params.sq_off.array);
  rings.submission_mask = *words(params.sq_off.ring_mask);
  rings.completion_head = words(params.cq_off.head);
  rings.completion_tail = words(params.cq_off.tail);
  rings.completion_mask = *words(params.cq_off.ring_mask);
  return true;
}

void Uring::Write(int fd, const iovec* pieces, int count, int32_t* result) {
  Rings& rings = *rings_;
  // The kernel does not read this entry until Submit publishes a new tail.
  const uint32_t index = (*rings.submission_tail + queued_) & rings.submission_mask;
  io_uring_sqe& entry = rings.entries[index];
  memset(&entry, 0, sizeof(entry));
  entry.fd = fd;
  if (count == 1) {
    entry.opcode = IORING_OP_WRITE;
    entry.addr = reinterpret_cast<uintptr_t>(pieces[0].iov_base);
    entry.len = static_cast<uint32_t>(pieces[0].iov_len);
  } else {
    entry.opcode = IORING_OP_WRITEV;
    entry.addr = reinterpret_cast<uintptr_t>(pieces);
    entry.len = static_cast<uint32_t>(count);
  }
  entry.user_data = queued_;
  rings.submission_indices[index] = index;
  results_[queued_++] = result;
}

bool Uring::Submit() {
  const uint32_t total = queued_;
  queued_ = 0;
  __atomic_store_n(rings_->submission_tail, *rings_->submission_tail + total, __ATOMIC_RELEASE);
  uint32_t submitted = 0;
  uint32_t done = 0;
  while (done < total) {
    const long taken = syscall(SYS_io_uring_enter, fd_, total - submitted, total - done, IORING_ENTER_GETEVENTS,
                               nullptr, 0);
    if (taken >= 0) {
      submitted += static_cast<uint32_t>(taken);
    } else if (errno != EINTR) {
      return false;
    }
    done += Reap();
  }
  return true;
}

uint32_t Uring::Reap() {
  Rings& rings = *rings_;
  uint32_t head = *rings.completion_head;
  const uint32_t tail = __atomic_load_n(rings.completion_tail, __ATOMIC_ACQUIRE);
  const uint32_t count = tail - head;
  for (; head != tail; head++) {
    const io_uring_cqe& completion = rings.completions[head & rings.completion_mask];
    *results_[completion.user_data % ENTRIES] = completion.res;
  }
  __atomic_store_n(rings.completion_head, head, __ATOMIC_RELEASE);
  return count;
}

#else

struct Uring::Rings {};

std::unique_ptr<Uring> Uring::Open() { return nullptr; }
Uring::~Uring() = default;
void Uring::Write(int, const iovec*, int, int32_t*) {}
bool Uring::Submit() { return false; }

#endif

}  // namespace vifd
