// The wire layout of netif (xen/io/netif.h, xen/io/ring.h on x86) and of virtio_net_hdr_v1.
#pragma once

#include <cstdint>

namespace bench {

constexpr uint32_t kPageSize = 4096;
constexpr uint32_t kRingSize = 256;

struct TxRequest {
  uint32_t gref;
  uint16_t offset;
  uint16_t flags;
  uint16_t id;
  uint16_t size;
};

struct TxResponse {
  uint16_t id;
  int16_t status;
};

struct RxRequest {
  uint16_t id;
  uint16_t pad;
  uint32_t gref;
};

struct RxResponse {
  uint16_t id;
  uint16_t offset;
  uint16_t flags;
  int16_t status;
};

struct ExtraInfo {
  uint8_t type;
  uint8_t flags;
  uint16_t gso_size;
  uint8_t gso_type;
  uint8_t pad;
  uint16_t gso_features;
};

static_assert(sizeof(TxRequest) == 12 && sizeof(TxResponse) == 4, "as netif.h has them");
static_assert(sizeof(RxRequest) == 8 && sizeof(RxResponse) == 8 && sizeof(ExtraInfo) == 8, "as netif.h has them");

constexpr uint16_t kTxChecksumBlank = 1;
constexpr uint16_t kTxDataValidated = 2;
constexpr uint16_t kRxDataValidated = 1;
constexpr uint16_t kRxChecksumBlank = 2;
constexpr uint16_t kMoreData = 4;
constexpr uint16_t kExtraInfo = 8;

constexpr int16_t kStatusError = -1;
constexpr int16_t kStatusOkay = 0;
constexpr int16_t kStatusNull = 1;

constexpr uint8_t kExtraGso = 1;
constexpr uint8_t kExtraMulticastAdd = 2;
constexpr uint8_t kExtraMulticastDelete = 3;
constexpr uint8_t kExtraLast = 5;
constexpr uint8_t kExtraMore = 1;
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 2;

constexpr uint32_t kFrameSlotsMax = 18;
constexpr uint32_t kFrameSlotsFatal = 20;
constexpr uint32_t kFrameBytesMin = 14;

struct VnetHeader {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_length;
  uint16_t gso_size;
  uint16_t checksum_start;
  uint16_t checksum_offset;
  uint16_t buffers;
};
static_assert(sizeof(VnetHeader) == 12, "as linux/virtio_net.h has it");

constexpr uint8_t kVnetNeedsChecksum = 1;
constexpr uint8_t kVnetDataValid = 2;
constexpr uint8_t kVnetGsoTcp4 = 1;
constexpr uint8_t kVnetGsoTcp6 = 4;
constexpr uint8_t kVnetGsoEcn = 0x80;

}  // namespace bench
