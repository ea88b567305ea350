#include "to_guest.h"

#include <algorithm>
#include <cstring>

namespace bench {

namespace {

// netif's GSO type, or -1 for a kind that it has no word for.
int GsoTypeOf(const VnetHeader& header) {
  switch (header.gso_type & ~kVnetGsoEcn) {
    case 0:
      return 0;
    case kVnetGsoTcp4:
      return kGsoTcp4;
    case kVnetGsoTcp6:
      return kGsoTcp6;
    default:
      return -1;
  }
}

uint16_t FlagsOf(const VnetHeader& header) {
  if (header.flags & kVnetNeedsChecksum) return kRxChecksumBlank | kRxDataValidated;
  return header.flags & kVnetDataValid ? kRxDataValidated : 0;
}

uint32_t PagesOf(uint32_t bytes) { return (bytes + kPageSize - 1) / kPageSize; }

}  // namespace

ToGuest::ToGuest(Grants* grants, uint32_t ring_ref, Source* source)
    : grants_(grants), ring_(grants->MapRing(ring_ref)), source_(source), arena_(kReadBytes) {}

ToGuest::Result ToGuest::Pump() {
  for (uint32_t round = 0; round < kTurnBatches; round++) {
    uint32_t waiting;
    if (!ring_.Waiting(&waiting)) return Result::kBroken;
    if (waiting > 0 && next_ == frame_count_ && !Read()) return Result::kIdle;
    if (waiting == 0 || waiting < SlotsOf(frames_[next_])) {
      if (!ring_.Arm()) return Result::kIdle;
      continue;
    }
    if (!Deliver(std::min(waiting, kBatchSlots))) return Result::kBroken;
  }
  return Result::kMore;
}

bool ToGuest::Read() {
  next_ = 0;
  frame_count_ = source_->Read(arena_, frames_, kBatchFrames);
  return frame_count_ > 0;
}

uint32_t ToGuest::SlotsOf(const Frame& frame) const {
  if (frame.length == 0) return 0;
  const int gso_type = GsoTypeOf(*HeaderOf(arena_, frame.offset));
  if (gso_type < 0) return 0;
  return PagesOf(frame.length) + (gso_type != 0 ? 1 : 0);
}

bool ToGuest::Deliver(uint32_t slots) {
  const uint32_t first = next_;
  uint32_t used = 0;
  for (; next_ < frame_count_; next_++) {
    const uint32_t needed = SlotsOf(frames_[next_]);
    if (used + needed > slots) break;
    used += needed;
    if (needed == 0) {
      frames_[next_].length = 0;
      counters_.dropped++;
    }
  }
  if (used == 0) return true;
  ring_.Copy(used, requests_);
  ring_.Take(used);
  segment_count_ = 0;
  delivery_count_ = 0;
  uint32_t slot = 0;
  for (uint32_t i = first; i < next_; i++) {
    if (frames_[i].length > 0) slot = Describe(frames_[i], slot);
  }
  const bool granted = Answer();
  if (ring_.Publish(responses_, used)) notified_++;
  return granted;
}

uint32_t ToGuest::Describe(const Frame& frame, uint32_t slot) {
  const VnetHeader& header = *HeaderOf(arena_, frame.offset);
  Delivery& delivery = deliveries_[delivery_count_++];
  delivery.length = frame.length;
  delivery.first_slot = static_cast<uint16_t>(slot);
  delivery.first_segment = static_cast<uint16_t>(segment_count_);
  delivery.gso_type = static_cast<uint8_t>(GsoTypeOf(header));
  delivery.gso_size = header.gso_size;
  delivery.flags = FlagsOf(header);
  for (uint32_t done = 0; done < frame.length; done += kPageSize) {
    Segment& segment = segments_[segment_count_++];
    segment.source.virt = arena_.at(frame.offset + done);
    segment.dest.foreign = {requests_[slot].gref, 0, grants_->domid()};
    segment.len = static_cast<uint16_t>(std::min(kPageSize, frame.length - done));
    segment.flags = vifd::GNTCOPY_DEST_GREF;
    // The second slot of a GSO frame is its extra info.
    slot += done == 0 && delivery.gso_type != 0 ? 2 : 1;
  }
  delivery.segments = static_cast<uint16_t>(segment_count_ - delivery.first_segment);
  delivery.slots = static_cast<uint16_t>(delivery.segments + (delivery.gso_type != 0 ? 1 : 0));
  return delivery.first_slot + delivery.slots;
}

bool ToGuest::Answer() {
  const bool called = grants_->Copy(segments_, segment_count_);
  bool granted = true;
  counters_.batches++;
  for (uint32_t i = 0; i < delivery_count_; i++) {
    const Delivery& delivery = deliveries_[i];
    const int status = called ? WorstStatus(delivery) : vifd::GNTST_GENERAL_ERROR;
    if (status == 0) {
      WriteResponses(delivery);
      counters_.frames++;
      counters_.bytes += delivery.length;
      continue;
    }
    for (uint32_t slot = delivery.first_slot; slot < uint32_t{delivery.first_slot} + delivery.slots; slot++) {
      responses_[slot] = {requests_[slot].id, 0, 0, kStatusError};
    }
    counters_.errors++;
    if (status == -2 || status == vifd::GNTST_BAD_GNTREF || status == -8) granted = false;
  }
  return granted;
}

int ToGuest::WorstStatus(const Delivery& delivery) const {
  for (uint32_t i = 0; i < delivery.segments; i++) {
    const int status = segments_[delivery.first_segment + i].status;
    if (status != 0) return status;
  }
  return 0;
}

void ToGuest::WriteResponses(const Delivery& delivery) {
  uint32_t slot = delivery.first_slot;
  uint16_t flags = delivery.flags | (delivery.gso_type != 0 ? kExtraInfo : 0);
  for (uint32_t i = 0; i < delivery.segments; i++) {
    const uint16_t length = segments_[delivery.first_segment + i].len;
    const uint16_t more = i + 1 < delivery.segments ? kMoreData : 0;
    responses_[slot] = {requests_[slot].id, 0, static_cast<uint16_t>(flags | more), static_cast<int16_t>(length)};
    slot++;
    flags = 0;
    if (i > 0 || delivery.gso_type == 0) continue;
    const ExtraInfo extra = {kExtraGso, 0, delivery.gso_size, delivery.gso_type, 0, 0};
    memcpy(&responses_[slot++], &extra, sizeof extra);
  }
}

}  // namespace bench
