// From the guest's TX ring to a sink.
#pragma once

#include "frame.h"
#include "ring.h"
#include "xen.h"

namespace bench {

class FromGuest {
 public:
  FromGuest(Grants* grants, uint32_t ring_ref, Sink* sink);

  using Ring = BackRing<TxRequest, TxResponse>;
  Ring& ring() { return ring_; }
  const Counters& counters() const { return counters_; }
  const Arena& arena() const { return arena_; }
  const Frame* frames() const { return frames_; }
  uint32_t frame_count() const { return frame_count_; }
  uint64_t notified() const { return notified_; }

  enum class Result { kIdle, kMore, kBroken };
  Result Pump();

 private:
  // The same as in lib/netback/queue/from-guest.ts: batches of one size have caches of one size.
  static constexpr uint32_t kBatchSlots = 128;
  static constexpr uint32_t kTurnBatches = 8;

  struct Packet {
    uint32_t size;
    uint16_t first_slot;
    uint16_t slots;
    uint16_t first_segment;
    uint16_t segments;
    uint16_t flags;
    uint16_t gso_size;
    uint8_t gso_type;
    uint8_t extras;
    int16_t status;
  };

  bool Batch(uint32_t slots, bool whole);
  // Fill in packets_ and packet_count_; return the slots that belong to whole frames.
  bool Parse(uint32_t slots, bool whole, uint32_t* used);
  int ReadFrame(uint32_t first, uint32_t count, Packet* packet);
  int ReadExtras(uint32_t from, uint32_t count, Packet* packet);
  int ReadFragments(uint32_t first, uint32_t from, uint32_t count, Packet* packet);
  // How many bytes to skip so that no slot's bytes cross a page of the arena, as lib/netback/queue/from-guest-layout.ts does.
  uint32_t Padding(const Packet& packet, uint32_t place) const;
  void Describe();
  bool Fetch();
  bool WriteHeader(const Packet& packet, uint32_t offset);
  void Send();
  void Answer(uint32_t slots);

  Grants* grants_;
  Ring ring_;
  Sink* sink_;
  Arena arena_;
  Counters counters_;
  uint64_t notified_ = 0;
  uint32_t packet_count_ = 0;
  uint32_t frame_count_ = 0;
  uint32_t segment_count_ = 0;
  TxRequest requests_[kBatchSlots];
  TxResponse responses_[kBatchSlots];
  // Bytes of data in each slot of a frame with fragments.
  uint16_t lengths_[kBatchSlots];
  Packet packets_[kBatchSlots];
  Frame frames_[kBatchSlots];
  Segment segments_[kBatchSlots];
};

}  // namespace bench
