#include "checksum.h"

#include "layout.h"

namespace vifd {

namespace {

// struct virtio_net_hdr_v1, whose header does not compile as C++ on Debian 12 (a field is called `class`).
constexpr size_t VNET_FLAGS = 0;
constexpr size_t VNET_CSUM_START = 6;
constexpr size_t VNET_CSUM_OFFSET = 8;

constexpr uint16_t ETHERTYPE_IPV4 = 0x0800;
constexpr uint16_t ETHERTYPE_IPV6 = 0x86dd;
constexpr uint16_t ETHERTYPE_VLAN = 0x8100;
constexpr size_t UDP_CHECKSUM_OFFSET = 6;

uint16_t Little(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | bytes[1] << 8); }
uint16_t Big(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]); }

uint16_t EtherType(const uint8_t* frame, size_t length) {
  if (length < 18) return 0;
  const uint16_t type = Big(frame + 12);
  return type == ETHERTYPE_VLAN ? Big(frame + 16) : type;
}

// One's complement sum of big-endian words; the partial checksum already there counts the pseudo header.
uint16_t Sum(const uint8_t* bytes, size_t length) {
  uint64_t sum = 0;
  for (size_t i = 0; i + 1 < length; i += 2) sum += Big(bytes + i);
  if ((length & 1) != 0) sum += static_cast<uint64_t>(bytes[length - 1]) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

}  // namespace

void CompleteIfNeeded(uint8_t* frame, size_t length, Completes completes) {
  uint8_t* header = frame - layout::VNET_HEADER_BYTES;
  if ((header[VNET_FLAGS] & layout::VNET_FLAG_NEEDS_CSUM) == 0) return;
  const uint16_t type = EtherType(frame, length);
  if (!((type == ETHERTYPE_IPV4 && completes.v4) || (type == ETHERTYPE_IPV6 && completes.v6))) return;
  const size_t start = Little(header + VNET_CSUM_START);
  const size_t offset = Little(header + VNET_CSUM_OFFSET);
  if (start + offset + 2 > length) return;
  uint16_t value = static_cast<uint16_t>(~Sum(frame + start, length - start));
  // UDP's zero means that there is no checksum.
  if (value == 0 && offset == UDP_CHECKSUM_OFFSET) value = 0xffff;
  frame[start + offset] = static_cast<uint8_t>(value >> 8);
  frame[start + offset + 1] = static_cast<uint8_t>(value & 0xff);
  header[VNET_FLAGS] = layout::VNET_FLAG_DATA_VALID;
}

}  // namespace vifd
