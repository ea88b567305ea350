// From a source to the buffers of the guest's RX ring.
#pragma once

#include "frame.h"
#include "ring.h"
#include "xen.h"

namespace bench {

class ToGuest {
 public:
  ToGuest(Grants* grants, uint32_t ring_ref, Source* source);

  using Ring = BackRing<RxRequest, RxResponse>;
  Ring& ring() { return ring_; }
  const Counters& counters() const { return counters_; }
  Arena& arena() { return arena_; }
  uint64_t notified() const { return notified_; }

  enum class Result { kIdle, kMore, kBroken };
  Result Pump();

  // As in lib/netback/frames/batch-memory.ts: TO_GUEST_FRAMES, BATCH_SLOTS and READ_END.
  static constexpr uint32_t kBatchFrames = 64;
  static constexpr uint32_t kBatchSlots = 128;
  static constexpr uint32_t kReadBytes = kBatchSlots * kPageSize;

 private:
  static constexpr uint32_t kTurnBatches = 8;

  // The responses to write, one for each frame of the batch.
  struct Delivery {
    uint32_t length;
    uint16_t first_slot;
    uint16_t slots;
    uint16_t first_segment;
    uint16_t segments;
    uint16_t flags;
    uint16_t gso_size;
    uint8_t gso_type;
  };

  bool Read();
  // 0 for a frame that netif has no words for.
  uint32_t SlotsOf(const Frame& frame) const;
  bool Deliver(uint32_t slots);
  // Returns the slot behind the frame's.
  uint32_t Describe(const Frame& frame, uint32_t slot);
  bool Answer();
  int WorstStatus(const Delivery& delivery) const;
  void WriteResponses(const Delivery& delivery);

  Grants* grants_;
  Ring ring_;
  Source* source_;
  Arena arena_;
  Counters counters_;
  uint64_t notified_ = 0;
  // Frames [next_, frame_count_) are pending: the guest has no buffers for them yet.
  uint32_t next_ = 0;
  uint32_t frame_count_ = 0;
  uint32_t segment_count_ = 0;
  uint32_t delivery_count_ = 0;
  Frame frames_[kBatchFrames];
  Delivery deliveries_[kBatchFrames];
  RxRequest requests_[kBatchSlots];
  RxResponse responses_[kBatchSlots];
  Segment segments_[kBatchSlots];
};

}  // namespace bench
