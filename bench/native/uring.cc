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
#include <stdexcept>
#include <string>

namespace bench {

// Headers of 5.6 and later name it; IORING_OP_WRITE came with 5.6.
#ifdef IORING_FEAT_CUR_PERSONALITY

// Memory that the kernel shares, at the offsets that io_uring_setup(2) returned.
struct Uring::Rings {
  uint8_t* memory = static_cast<uint8_t*>(MAP_FAILED);
  size_t size = 0;
  io_uring_sqe* entries = static_cast<io_uring_sqe*>(MAP_FAILED);
  size_t entries_size = 0;
  io_uring_cqe* completions;
  uint32_t* submission_tail;
  uint32_t* submission_indices;
  uint32_t submission_mask;
  uint32_t* completion_head;
  uint32_t* completion_tail;
  uint32_t completion_mask;

  uint32_t* Word(uint32_t offset) const { return reinterpret_cast<uint32_t*>(memory + offset); }

  ~Rings() {
    if (memory != MAP_FAILED) munmap(memory, size);
    if (entries != MAP_FAILED) munmap(entries, entries_size);
  }
};

std::unique_ptr<Uring> Uring::Open() {
  std::unique_ptr<Uring> ring(new Uring);
  io_uring_params params{};
  ring->fd_ = static_cast<int>(syscall(SYS_io_uring_setup, kEntries, &params));
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
  rings.memory = static_cast<uint8_t*>(map(rings.size, IORING_OFF_SQ_RING));
  rings.entries = static_cast<io_uring_sqe*>(map(rings.entries_size, IORING_OFF_SQES));
  if (rings.memory == MAP_FAILED || rings.entries == MAP_FAILED) return false;
  rings.completions = reinterpret_cast<io_uring_cqe*>(rings.memory + params.cq_off.cqes);
  rings.submission_tail = rings.Word(params.sq_off.tail);
  rings.submission_indices = rings.Word(params.sq_off.array);
  rings.submission_mask = *rings.Word(params.sq_off.ring_mask);
  rings.completion_head = rings.Word(params.cq_off.head);
  rings.completion_tail = rings.Word(params.cq_off.tail);
  rings.completion_mask = *rings.Word(params.cq_off.ring_mask);
  return true;
}

void Uring::Write(int fd, const void* start, uint32_t bytes) {
  Rings& rings = *rings_;
  // The kernel does not look at it until Submit stores the new tail.
  const uint32_t index = (*rings.submission_tail + queued_) & rings.submission_mask;
  io_uring_sqe& entry = rings.entries[index];
  memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_WRITE;
  entry.fd = fd;
  entry.addr = reinterpret_cast<uintptr_t>(start);
  entry.len = bytes;
  rings.submission_indices[index] = index;
  queued_++;
}

int Uring::Submit() {
  const uint32_t total = queued_;
  queued_ = 0;
  __atomic_store_n(rings_->submission_tail, *rings_->submission_tail + total, __ATOMIC_RELEASE);
  int error = 0;
  uint32_t submitted = 0;
  uint32_t done = 0;
  while (done < total) {
    const long taken = syscall(SYS_io_uring_enter, fd_, total - submitted, total - done, IORING_ENTER_GETEVENTS,
                               nullptr, 0);
    if (taken >= 0) {
      submitted += static_cast<uint32_t>(taken);
    } else if (errno != EINTR) {
      throw std::runtime_error(std::string("io_uring_enter: ") + strerror(errno));
    }
    done += Reap(&error);
  }
  return error;
}

uint32_t Uring::Reap(int* error) {
  Rings& rings = *rings_;
  uint32_t head = *rings.completion_head;
  const uint32_t tail = __atomic_load_n(rings.completion_tail, __ATOMIC_ACQUIRE);
  const uint32_t count = tail - head;
  for (; head != tail; head++) {
    const int32_t result = rings.completions[head & rings.completion_mask].res;
    if (result < 0 && *error == 0) *error = -result;
  }
  __atomic_store_n(rings.completion_head, head, __ATOMIC_RELEASE);
  return count;
}

#else

struct Uring::Rings {};

std::unique_ptr<Uring> Uring::Open() { return nullptr; }
Uring::~Uring() = default;
void Uring::Write(int, const void*, uint32_t) {}
int Uring::Submit() { return 0; }

#endif

}  // namespace bench
