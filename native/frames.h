// One direction of a tap's traffic: a FrameBatch of lib/ports/frame-batch.ts. Its memory is pinned, and its offsets are checked before use.
#pragma once

#include <napi.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstdint>

#include "layout.h"
#include "memory.h"

namespace vifd {

class Frames {
 public:
  Frames(const Napi::Uint32Array& block, const Napi::Uint8Array& arena) : block_(block), arena_(arena) {
    const size_t words = block.ElementLength();
    capacity_ = words < layout::FRAMES_HEADER_WORDS
                    ? 0
                    : static_cast<uint32_t>((words - layout::FRAMES_HEADER_WORDS) / layout::FRAME_WORDS);
  }

  void Check() const {
    block_.Check();
    arena_.Check();
  }

  void Reset() {
    block_.Reset();
    arena_.Reset();
    capacity_ = 0;
  }

  uint32_t capacity() const { return capacity_; }
  uint32_t& header(uint32_t word) { return block_.words()[word]; }
  uint32_t* frame(uint32_t index) {
    return block_.words() + layout::FRAMES_HEADER_WORDS + size_t{index} * layout::FRAME_WORDS;
  }
  size_t arena_size() const { return arena_.size(); }
  uint8_t* arena() const { return arena_.bytes(); }

  // The frame's vnet header and its first `length` bytes; false when they are not all in the arena.
  bool Span(const uint32_t* frame, uint32_t length, iovec* out) const {
    const uint64_t offset = frame[layout::FRAME_OFFSET];
    if (offset < layout::VNET_HEADER_BYTES || offset + length > arena_.size()) return false;
    *out = {arena_.bytes() + offset - layout::VNET_HEADER_BYTES, size_t{layout::VNET_HEADER_BYTES} + length};
    return true;
  }

 private:
  Pin block_;
  Pin arena_;
  uint32_t capacity_;
};

}  // namespace vifd
