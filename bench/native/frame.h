// Frames in an arena, and where they go to and come from: the C++ side's lib/ports/frame-batch.ts.
#pragma once

#include <cstdint>

#include "netif.h"
#include "xen.h"

namespace bench {

constexpr uint32_t kFrameBytesMax = 65535 + 18;
// Frames of the guest lie at 16 past a multiple of 64, the vnet header in the 12 bytes in front.
constexpr uint32_t kFrameAlign = 64;
constexpr uint32_t kFramePhase = 16;
// How many bytes of an arena may be left unused so that no slot crosses a page of it.
constexpr uint32_t kPaddingBytes = 16 * 4096;

struct Frame {
  uint32_t offset;
  // 0: not to be sent.
  uint32_t length;
};

inline VnetHeader* HeaderOf(const Arena& arena, uint32_t offset) {
  return reinterpret_cast<VnetHeader*>(arena.at(offset - sizeof(VnetHeader)));
}

inline uint32_t AlignUp(uint32_t offset) { return (offset + kFrameAlign - 1) & ~(kFrameAlign - 1); }

struct Counters {
  uint64_t frames = 0;
  uint64_t bytes = 0;
  uint64_t dropped = 0;
  uint64_t errors = 0;
  uint64_t batches = 0;
};

class Sink {
 public:
  virtual ~Sink() = default;
  // How many of the frames were dealt with.
  virtual uint32_t Write(const Arena& arena, const Frame* frames, uint32_t count) = 0;
};

class NullSink : public Sink {
 public:
  uint32_t Write(const Arena&, const Frame*, uint32_t count) override { return count; }
};

class Source {
 public:
  virtual ~Source() = default;
  // Puts frames into the arena and says where. Returns how many.
  virtual uint32_t Read(const Arena& arena, Frame* frames, uint32_t capacity) = 0;
};

}  // namespace bench
