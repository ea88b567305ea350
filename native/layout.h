// The words of the blocks that TypeScript and this addon share. The same figures stand in lib/xen/seam.ts and
// lib/ports/frame-batch.ts; test/native/layout.test.ts compares them through addon.layout().
#pragma once

#include <cstdint>

#define VIFD_LAYOUT(X)                                                                            \
  X(PAGE_SIZE, 4096)                                                                              \
  X(OPS_COUNT, 0) X(OPS_FAILED, 1) X(OPS_ERRNO, 2) X(OPS_HEADER_WORDS, 4) X(OP_WORDS, 5)          \
  X(OP_REF, 0) X(OP_SPAN, 1) X(OP_ARENA, 2) X(OP_HEAD, 3) X(OP_STATUS, 4)                         \
  X(FRAMES_COUNT, 0) X(FRAMES_START, 1) X(FRAMES_END, 2) X(FRAMES_ALIGN, 3) X(FRAMES_PHASE, 4)    \
  X(FRAMES_MORE, 5) X(FRAMES_ERRNO, 6) X(FRAMES_HEADER_WORDS, 8)                                  \
  X(FRAME_WORDS, 5) X(FRAME_OFFSET, 0) X(FRAME_LENGTH, 1) X(FRAME_FIRST_OP, 2)                    \
  X(FRAME_OP_COUNT, 3) X(FRAME_STATUS, 4)                                                         \
  X(VNET_HEADER_BYTES, 12) X(FRAME_BYTES_MAX, 65535 + 18)                                         \
  X(VNET_FLAG_NEEDS_CSUM, 1) X(VNET_FLAG_DATA_VALID, 2)

// sys/user.h and friends define PAGE_SIZE as a macro.
#ifdef PAGE_SIZE
#undef PAGE_SIZE
#endif

namespace vifd::layout {
#define VIFD_LAYOUT_CONSTANT(name, value) constexpr uint32_t name = value;
VIFD_LAYOUT(VIFD_LAYOUT_CONSTANT)
#undef VIFD_LAYOUT_CONSTANT
}  // namespace vifd::layout
