#include "from_guest.h"

#include <algorithm>
#include <cstring>

#include "checksum.h"

namespace bench {

namespace {

// Instead of a number of slots.
constexpr int kIncomplete = -1;
constexpr int kFault = -2;

}  // namespace

FromGuest::FromGuest(Grants* grants, uint32_t ring_ref, Sink* sink)
    : grants_(grants),
      ring_(grants->MapRing(ring_ref)),
      sink_(sink),
      arena_(kBatchSlots * (kPageSize + kFrameAlign + kFramePhase) + kPaddingBytes) {}

FromGuest::Result FromGuest::Pump() {
  for (uint32_t round = 0; round < kTurnBatches; round++) {
    uint32_t waiting;
    if (!ring_.Waiting(&waiting)) return Result::kBroken;
    if (waiting == 0) {
      if (!ring_.Arm()) return Result::kIdle;
      continue;
    }
    if (!Batch(std::min(waiting, kBatchSlots), waiting <= kBatchSlots)) return Result::kBroken;
  }
  return Result::kMore;
}

bool FromGuest::Batch(uint32_t slots, bool whole) {
  ring_.Copy(slots, requests_);
  uint32_t used = 0;
  const bool sound = Parse(slots, whole, &used);
  if (used == 0) return sound;
  ring_.Take(used);
  Describe();
  const bool granted = Fetch();
  Send();
  Answer(used);
  return sound && granted;
}

bool FromGuest::Parse(uint32_t slots, bool whole, uint32_t* used) {
  packet_count_ = 0;
  *used = 0;
  while (*used < slots) {
    const int taken = ReadFrame(*used, slots, &packets_[packet_count_]);
    if (taken == kFault) return false;
    if (taken == kIncomplete) return !whole && *used > 0;
    packet_count_++;
    *used += static_cast<uint32_t>(taken);
  }
  return true;
}

int FromGuest::ReadFrame(uint32_t first, uint32_t count, Packet* packet) {
  const TxRequest& request = requests_[first];
  packet->size = request.size;
  packet->first_slot = static_cast<uint16_t>(first);
  packet->flags = request.flags;
  packet->gso_type = 0;
  packet->gso_size = 0;
  packet->extras = 0;
  packet->status = request.size < kFrameBytesMin ? kStatusError : kStatusOkay;
  int used = 1;
  if (request.flags & kExtraInfo) {
    const int extras = ReadExtras(first + 1, count, packet);
    if (extras < 0) return extras;
    used += extras;
  }
  lengths_[first] = request.size;
  if (request.flags & kMoreData) {
    const int more = ReadFragments(first, first + static_cast<uint32_t>(used), count, packet);
    if (more < 0) return more;
    used += more;
  }
  if (uint32_t{request.offset} + lengths_[first] > kPageSize) return kFault;
  packet->slots = static_cast<uint16_t>(used);
  return used;
}

int FromGuest::ReadExtras(uint32_t from, uint32_t count, Packet* packet) {
  for (uint32_t used = 0;;) {
    if (used >= kExtraLast) return kFault;
    if (from + used >= count) return kIncomplete;
    ExtraInfo extra;
    memcpy(&extra, &requests_[from + used], sizeof extra);
    used++;
    switch (extra.type) {
      case kExtraGso:
        if (extra.gso_size == 0) return kFault;
        if (extra.gso_type != kGsoTcp4 && extra.gso_type != kGsoTcp6) return kFault;
        packet->gso_type = extra.gso_type;
        packet->gso_size = extra.gso_size;
        break;
      case kExtraMulticastAdd:
      case kExtraMulticastDelete:
        packet->status = kStatusError;
        break;
      case 0:
        return kFault;
      default:
        if (extra.type > kExtraLast) return kFault;
    }
    if (!(extra.flags & kExtraMore)) {
      packet->extras = static_cast<uint8_t>(used);
      return static_cast<int>(used);
    }
  }
}

int FromGuest::ReadFragments(uint32_t first, uint32_t from, uint32_t count, Packet* packet) {
  uint32_t left = packet->size;
  bool valid = true;
  for (uint32_t used = 0;;) {
    if (used + 1 >= kFrameSlotsFatal) return kFault;
    if (from + used >= count) return kIncomplete;
    const TxRequest& request = requests_[from + used];
    if (uint32_t{request.offset} + request.size > kPageSize) return kFault;
    if (request.size > left) {
      valid = false;
    } else {
      left -= request.size;
    }
    lengths_[from + used] = request.size;
    used++;
    if (request.flags & kMoreData) continue;
    if (!valid || used + 1 > kFrameSlotsMax) {
      packet->status = kStatusError;
      left = 0;
    }
    lengths_[first] = static_cast<uint16_t>(left);
    return static_cast<int>(used);
  }
}

uint32_t FromGuest::Padding(const Packet& packet, uint32_t place) const {
  const uint32_t first = packet.first_slot;
  const uint32_t length = lengths_[first];
  if (!(requests_[first].flags & kMoreData)) {
    const uint32_t in_page = place & (kPageSize - 1);
    return in_page + length > kPageSize ? kPageSize - in_page : 0;
  }
  const uint32_t end = first + packet.slots;
  uint32_t second = first + 1 + packet.extras;
  while (second < end && lengths_[second] == 0) second++;
  const uint32_t wanted = second < end ? requests_[second].offset & 0xfffeu : 0;
  return (wanted - length - place) & (kPageSize - 2);
}

void FromGuest::Describe() {
  uint32_t next = 0;
  uint32_t slack = kPaddingBytes;
  uint32_t count = 0;
  for (uint32_t i = 0; i < packet_count_; i++) {
    Packet& packet = packets_[i];
    packet.first_segment = static_cast<uint16_t>(count);
    packet.segments = 0;
    frames_[i].length = 0;
    if (packet.status != kStatusOkay) continue;
    uint32_t offset = next + kFramePhase;
    const uint32_t padding = Padding(packet, offset);
    if (padding <= slack) {
      offset += padding;
      slack -= padding;
    }
    frames_[i] = {offset, packet.size};
    uint8_t* place = arena_.at(offset);
    const uint32_t end = uint32_t{packet.first_slot} + packet.slots;
    for (uint32_t slot = packet.first_slot; slot < end; slot++) {
      Segment& segment = segments_[count++];
      segment.source.foreign = {requests_[slot].gref, requests_[slot].offset, grants_->domid()};
      segment.dest.virt = place;
      segment.len = lengths_[slot];
      segment.flags = vifd::GNTCOPY_SOURCE_GREF;
      place += lengths_[slot];
      if (slot == packet.first_slot) slot += packet.extras;
    }
    packet.segments = static_cast<uint16_t>(count - packet.first_segment);
    next = AlignUp(offset + packet.size);
  }
  segment_count_ = count;
}

bool FromGuest::Fetch() {
  bool granted = true;
  const bool called = segment_count_ == 0 || grants_->Copy(segments_, segment_count_);
  for (uint32_t i = 0; i < packet_count_; i++) {
    Packet& packet = packets_[i];
    if (packet.status != kStatusOkay) continue;
    int status = called ? 0 : vifd::GNTST_GENERAL_ERROR;
    for (uint32_t j = 0; j < packet.segments; j++) {
      const int own = segments_[packet.first_segment + j].status;
      status |= own;
      if (own == -2 || own == vifd::GNTST_BAD_GNTREF || own == -8) granted = false;
    }
    if (status != 0) {
      packet.status = kStatusError;
      frames_[i].length = 0;
    } else if (!WriteHeader(packet, frames_[i].offset)) {
      frames_[i].length = 0;
      counters_.dropped++;
    }
  }
  return granted;
}

bool FromGuest::WriteHeader(const Packet& packet, uint32_t offset) {
  VnetHeader header{};
  if (!(packet.flags & kTxChecksumBlank) && packet.gso_type == 0) {
    header.flags = packet.flags & kTxDataValidated ? kVnetDataValid : 0;
    *HeaderOf(arena_, offset) = header;
    return true;
  }
  uint8_t* frame = arena_.at(offset);
  const ChecksumPlace place = LocateChecksum(frame, packet.size);
  if (place.start == 0) return false;
  header.flags = kVnetNeedsChecksum;
  header.checksum_start = place.start;
  header.checksum_offset = place.offset;
  if (packet.gso_type != 0) {
    const uint32_t headers = TcpHeaderEnd(frame, packet.size, place.start);
    if (headers == 0) return false;
    header.header_length = static_cast<uint16_t>(headers);
    header.gso_type = packet.gso_type == kGsoTcp4 ? kVnetGsoTcp4 : kVnetGsoTcp6;
    header.gso_size = packet.gso_size;
    if (!(packet.flags & kTxChecksumBlank)) WritePseudoChecksum(frame, packet.size, place);
  }
  *HeaderOf(arena_, offset) = header;
  return true;
}

void FromGuest::Send() {
  frame_count_ = packet_count_;
  const uint32_t written = sink_->Write(arena_, frames_, frame_count_);
  counters_.batches++;
  for (uint32_t i = 0; i < frame_count_; i++) {
    if (packets_[i].status != kStatusOkay) counters_.errors++;
    if (frames_[i].length == 0) continue;
    if (i >= written) {
      counters_.dropped++;
      continue;
    }
    counters_.frames++;
    counters_.bytes += frames_[i].length;
  }
}

void FromGuest::Answer(uint32_t slots) {
  for (uint32_t i = 0; i < packet_count_; i++) {
    const Packet& packet = packets_[i];
    const uint32_t first = packet.first_slot;
    const uint32_t data = first + 1 + packet.extras;
    responses_[first] = {requests_[first].id, packet.status};
    for (uint32_t slot = first + 1; slot < data; slot++) responses_[slot] = {0, kStatusNull};
    for (uint32_t slot = data; slot < first + packet.slots; slot++) {
      responses_[slot] = {requests_[slot].id, packet.status};
    }
  }
  if (ring_.Publish(responses_, slots)) notified_++;
}

}  // namespace bench
