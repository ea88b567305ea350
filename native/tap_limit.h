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

  // Replaces the program of an earlier process, and limits for `ms`. The queues count as full until they were seen empty, because the earlier
  // program charged the frames that wait in them. Returns nullptr, or the name of the call that failed, with errno.
  const char* Attach(int fd, uint64_t bytes, uint32_t ms);
  // Removes the program of an earlier process. Returns 0 or -errno.
  static int Detach(int fd);

  // The calls below do nothing if no program could be attached.

  // Returns the charge of a frame of this length, as the program computes it.
  static uint64_t Charge(uint64_t length, bool gso);
  // Records that frames with charges of `bytes` were read from the queues.
  void Took(uint64_t bytes);
  // Call it when a queue was seen empty. Once all are empty, drops all charges, including those of frames that were lost.
  void Settle();
  // Limits for `ms` from now on; later the program lets all frames in. Another program, or a vifd without a limit, that reads the tap by then
  // does not record what it reads.
  void Renew(uint32_t ms);
  // Frames that the program has dropped.
  uint64_t dropped() const;

  // Adds a queue of the device, until the queue is closed.
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
