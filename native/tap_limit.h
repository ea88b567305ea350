// Bounds the memory of the frames that wait in a tap's queues (XSA-392): tun itself counts frames alone, of up to 64 KiB each.
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace vifd {

struct TapDevice;

// A BPF program that the kernel runs for each frame before tun queues it (TUNSETFILTEREBPF), and the words that it shares with vifd; one
// for all queues of a device. The kernel keeps the program with the device: it bounds the queues also while no process is there.
class TapLimit {
 public:
  TapLimit() = default;
  ~TapLimit();
  TapLimit(const TapLimit&) = delete;
  TapLimit& operator=(const TapLimit&) = delete;

  // Replaces the program that an earlier process has left, and bounds for `ms`. The queues count as full until they were seen empty:
  // what waits in them was charged by that program. Returns nullptr, or the name of the call that failed, with errno.
  const char* Attach(int fd, uint64_t bytes, uint32_t ms);
  // Removes a program that an earlier process has left. 0 or -errno.
  static int Detach(int fd);

  // The calls below do nothing where no program could be attached.

  // What a frame of this length costs, as the program counts it.
  static uint64_t Charge(uint64_t length, bool gso);
  // Frames of `bytes` of charges were read from the queues.
  void Took(uint64_t bytes);
  // A queue was seen empty. When all of them are, nothing is charged any more, whatever became of frames that were.
  void Settle();
  // Bounds for `ms` from now on. Then the program lets everything pass: another program, or a vifd without a limit, that reads the tap
  // by then does not tell it what was read.
  void Renew(uint32_t ms);
  // Frames that the program has dropped.
  uint64_t dropped() const;

  // A queue of the device, until it is closed.
  void Add(const std::shared_ptr<TapDevice>& queue);

 private:
  struct Words;
  bool Empty();
  void Unmap();

  Words* words_ = nullptr;
  std::vector<std::weak_ptr<TapDevice>> queues_;
  // Reused by Empty().
  std::vector<pollfd> polled_;
};

}  // namespace vifd
