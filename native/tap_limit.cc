#include "tap_limit.h"

#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "tap.h"

namespace vifd {

// The map's only value. Words that senders write and words that vifd writes are on different cache lines.
struct TapLimit::Words {
  // Charges of all frames that were let in, in bytes.
  uint64_t queued;
  // Frames that were not let in.
  uint64_t dropped;
  // Charges of all frames that were read, in bytes.
  alignas(64) uint64_t taken;
  uint64_t limit;
  // CLOCK_MONOTONIC, ns: from then on the program lets all frames in.
  uint64_t until;
};

namespace {

// A frame of n bytes is charged 2n + 1152, one with GSO 3n/2 + 1152, and each at least 2304: its skb's truesize or more. Measured on
// 6.18: 832 for 60 bytes, 2304 for 1514; where skbs are linear, up to twice the length (kmalloc's sizes), as 8448 for 4042 and 16640
// for 9014; 66368 for a GSO frame of 64 KiB that was sent on this host. By their sources, NICs that receive into halves of pages cost
// 2304 a frame of any length, and 1.5 times its bytes for one that GRO made of 45. 1,000 frames of 1,518 bytes come to 4 MiB.
constexpr uint64_t kBase = 1152;
constexpr uint64_t kLeast = 2304;
constexpr uint32_t kVlanBytes = 4;

constexpr uint64_t ChargeOf(uint64_t length, bool gso) {
  return std::max((gso ? length + length / 2 : length * 2) + kBase, kLeast);
}
static_assert(1000 * ChargeOf(1514 + kVlanBytes, false) <= 4 << 20);

constexpr char kName[] = "vifd_tap";

int Bpf(int command, bpf_attr* attributes, size_t bytes) {
  return static_cast<int>(syscall(SYS_bpf, command, attributes, bytes));
}

// Closes its descriptor; the kernel keeps maps and programs that are in use.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd < 0) return;
    const int error = errno;
    close(fd);
    errno = error;
  }
};

int CreateMap(size_t bytes) {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = sizeof(uint32_t);
  attributes.value_size = static_cast<uint32_t>(bytes);
  attributes.max_entries = 1;
  attributes.map_flags = BPF_F_MMAPABLE;
  memcpy(attributes.map_name, kName, sizeof kName);
  return Bpf(BPF_MAP_CREATE, &attributes, sizeof attributes);
}

constexpr bpf_insn Op(uint8_t code, uint8_t to, uint8_t from = 0, int16_t offset = 0, int32_t value = 0) {
  bpf_insn instruction{};
  instruction.code = code;
  instruction.dst_reg = to & 15;
  instruction.src_reg = from & 15;
  instruction.off = offset;
  instruction.imm = value;
  return instruction;
}

constexpr uint8_t kMove = BPF_ALU64 | BPF_MOV;
constexpr uint8_t kLoad32 = BPF_LDX | BPF_MEM | BPF_W;
constexpr uint8_t kLoad64 = BPF_LDX | BPF_MEM | BPF_DW;
// BPF_ATOMIC | BPF_ADD; headers before 5.12 call it BPF_XADD.
constexpr uint8_t kAtomicAdd = BPF_STX | 0xc0 | BPF_DW;

// Adds before it compares, so that frames on several processors never pass the limit together; two at its edge may both be dropped.
int LoadProgram(int map, const int16_t (&word)[5]) {
  const auto [queued, dropped, taken, limit, until] = word;
  enum : uint8_t { r0, r1, r2, r6 = 6, r8 = 8, r9 };
  const bpf_insn program[] = {
      Op(kMove | BPF_X, r6, r1),
      Op(kLoad32, r8, r6, offsetof(__sk_buff, len)),
      // A tag that the device would insert is not in skb->len, but in what is read.
      Op(kLoad32, r1, r6, offsetof(__sk_buff, vlan_present)),
      Op(BPF_JMP | BPF_JEQ | BPF_K, r1, 0, 1, 0),
      Op(BPF_ALU64 | BPF_ADD | BPF_K, r8, 0, 0, kVlanBytes),
      // r8: ChargeOf.
      Op(kLoad32, r1, r6, offsetof(__sk_buff, gso_size)),
      Op(kMove | BPF_X, r2, r8),
      Op(BPF_JMP | BPF_JEQ | BPF_K, r1, 0, 1, 0),
      Op(BPF_ALU64 | BPF_RSH | BPF_K, r2, 0, 0, 1),
      Op(BPF_ALU64 | BPF_ADD | BPF_X, r8, r2),
      Op(BPF_ALU64 | BPF_ADD | BPF_K, r8, 0, 0, kBase),
      Op(BPF_JMP | BPF_JGE | BPF_K, r8, 0, 1, kLeast),
      Op(kMove | BPF_K, r8, 0, 0, kLeast),
      Op(BPF_LD | BPF_IMM | BPF_DW, r9, BPF_PSEUDO_MAP_VALUE, 0, map),
      Op(0, 0),
      Op(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ktime_get_ns),
      Op(kLoad64, r1, r9, until),
      Op(BPF_JMP | BPF_JGT | BPF_X, r0, r1, 12),
      Op(kAtomicAdd, r9, r8, queued, BPF_ADD),
      Op(kLoad64, r1, r9, queued),
      Op(kLoad64, r2, r9, taken),
      Op(BPF_ALU64 | BPF_SUB | BPF_X, r1, r2),
      Op(kLoad64, r2, r9, limit),
      Op(BPF_JMP | BPF_JSLE | BPF_X, r1, r2, 6),
      Op(BPF_ALU64 | BPF_NEG, r8),
      Op(kAtomicAdd, r9, r8, queued, BPF_ADD),
      Op(kMove | BPF_K, r1, 0, 0, 1),
      Op(kAtomicAdd, r9, r1, dropped, BPF_ADD),
      Op(kMove | BPF_K, r0, 0, 0, 0),
      Op(BPF_JMP | BPF_EXIT, 0),
      // The frame is let in with all its bytes.
      Op(kLoad32, r0, r6, offsetof(__sk_buff, len)),
      Op(BPF_JMP | BPF_EXIT, 0),
  };
  static const char license[] = "Proprietary";
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<uintptr_t>(program);
  attributes.insn_cnt = sizeof program / sizeof *program;
  attributes.license = reinterpret_cast<uintptr_t>(license);
  memcpy(attributes.prog_name, kName, sizeof kName);
  return Bpf(BPF_PROG_LOAD, &attributes, sizeof attributes);
}

uint64_t Load(const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
void Store(uint64_t* word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

}  // namespace

const char* TapLimit::Attach(int fd, uint64_t bytes, uint32_t ms) {
  const Descriptor map{CreateMap(sizeof(Words))};
  if (map.fd < 0) return "BPF_MAP_CREATE";
  const int16_t words[] = {offsetof(Words, queued), offsetof(Words, dropped), offsetof(Words, taken), offsetof(Words, limit),
                           offsetof(Words, until)};
  const Descriptor program{LoadProgram(map.fd, words)};
  if (program.fd < 0) return "BPF_PROG_LOAD";
  void* memory = mmap(nullptr, sizeof(Words), PROT_READ | PROT_WRITE, MAP_SHARED, map.fd, 0);
  if (memory == MAP_FAILED) return "mmap of a BPF map";
  Unmap();
  words_ = static_cast<Words*>(memory);
  words_->limit = bytes;
  words_->queued = bytes;
  Renew(ms);
  if (ioctl(fd, TUNSETFILTEREBPF, &program.fd) == 0) return nullptr;
  Unmap();
  return "TUNSETFILTEREBPF";
}

int TapLimit::Detach(int fd) {
  const int none = -1;
  return ioctl(fd, TUNSETFILTEREBPF, &none) < 0 ? -errno : 0;
}

TapLimit::~TapLimit() { Unmap(); }

void TapLimit::Unmap() {
  if (words_ == nullptr) return;
  const int error = errno;
  munmap(words_, sizeof(Words));
  words_ = nullptr;
  errno = error;
}

uint64_t TapLimit::Charge(uint64_t length, bool gso) { return ChargeOf(length, gso); }

void TapLimit::Took(uint64_t bytes) {
  if (words_ != nullptr) Store(&words_->taken, words_->taken + bytes);
}

void TapLimit::Settle() {
  if (words_ == nullptr) return;
  const uint64_t queued = Load(words_->queued);
  if (queued == words_->taken || !Empty()) return;
  // If the number has changed, a frame came meanwhile. A frame that is charged and not in its queue yet counts as taken twice, until the next
  // time.
  if (Load(words_->queued) == queued) Store(&words_->taken, queued);
}

void TapLimit::Renew(uint32_t ms) {
  if (words_ == nullptr) return;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t now_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  Store(&words_->until, now_ns + uint64_t{ms} * 1'000'000);
}

uint64_t TapLimit::dropped() const { return words_ == nullptr ? 0 : Load(words_->dropped); }

void TapLimit::Add(const std::shared_ptr<TapDevice>& queue) {
  const auto gone = [](const std::weak_ptr<TapDevice>& known) {
    const std::shared_ptr<TapDevice> device = known.lock();
    return device == nullptr || device->fd < 0;
  };
  queues_.erase(std::remove_if(queues_.begin(), queues_.end(), gone), queues_.end());
  queues_.push_back(queue);
}

bool TapLimit::Empty() {
  polled_.clear();
  for (const std::weak_ptr<TapDevice>& known : queues_) {
    const std::shared_ptr<TapDevice> queue = known.lock();
    // poll(2) passes over a descriptor of -1, as of a queue that was closed.
    if (queue != nullptr) polled_.push_back({queue->fd, POLLIN, 0});
  }
  return poll(polled_.data(), polled_.size(), 0) == 0;
}

}  // namespace vifd
