#include "checksum.h"

namespace bench {

namespace {

constexpr uint32_t kTcp = 6;
constexpr uint32_t kUdp = 17;
constexpr uint16_t kTcpChecksum = 16;
constexpr uint16_t kUdpChecksum = 6;
constexpr uint32_t kExtensionsMax = 8;

uint32_t Be16(const uint8_t* at) { return uint32_t{at[0]} << 8 | at[1]; }

// Offset of the IP header, 0 for none; says in `v6` which it is.
uint32_t NetworkHeader(const uint8_t* frame, uint32_t length, bool* v6) {
  uint32_t at = 12;
  for (int tags = 0; tags <= 2 && at + 2 <= length; tags++, at += 4) {
    const uint32_t type = Be16(frame + at);
    if (type == 0x0800 || type == 0x86dd) {
      *v6 = type == 0x86dd;
      return at + 2;
    }
    if (type != 0x8100 && type != 0x88a8) return 0;
  }
  return 0;
}

uint32_t Ipv4Transport(const uint8_t* frame, uint32_t length, uint32_t ip, uint32_t* protocol) {
  if (ip + 20 > length) return 0;
  const uint32_t header = (frame[ip] & 0x0fu) * 4;
  if ((Be16(frame + ip + 6) & 0x3fff) != 0) return 0;
  if (header < 20 || ip + header + 8 > length) return 0;
  *protocol = frame[ip + 9];
  return ip + header;
}

uint32_t Ipv6Transport(const uint8_t* frame, uint32_t length, uint32_t ip, uint32_t* protocol) {
  if (ip + 40 > length) return 0;
  uint32_t next = frame[ip + 6];
  uint32_t at = ip + 40;
  for (uint32_t extensions = 0; extensions <= kExtensionsMax && at + 8 <= length; extensions++) {
    if (next != 0 && next != 43 && next != 60) {
      *protocol = next;
      return at;
    }
    next = frame[at];
    at += (frame[at + 1] + 1u) * 8;
  }
  return 0;
}

}  // namespace

ChecksumPlace LocateChecksum(const uint8_t* frame, uint32_t length) {
  bool v6 = false;
  const uint32_t ip = NetworkHeader(frame, length, &v6);
  if (ip == 0) return {0, 0};
  uint32_t protocol = 0;
  const uint32_t transport =
      v6 ? Ipv6Transport(frame, length, ip, &protocol) : Ipv4Transport(frame, length, ip, &protocol);
  if (transport == 0) return {0, 0};
  if (protocol == kTcp) return {static_cast<uint16_t>(transport), kTcpChecksum};
  if (protocol == kUdp) return {static_cast<uint16_t>(transport), kUdpChecksum};
  return {0, 0};
}

uint32_t TcpHeaderEnd(const uint8_t* frame, uint32_t length, uint32_t tcp) {
  if (tcp + 20 > length) return 0;
  const uint32_t end = tcp + (frame[tcp + 12] >> 4) * 4u;
  return end <= length ? end : 0;
}

void WritePseudoChecksum(uint8_t* frame, uint32_t length, ChecksumPlace place) {
  bool v6 = false;
  const uint32_t ip = NetworkHeader(frame, place.start, &v6);
  const uint32_t addresses = v6 ? ip + 8 : ip + 12;
  const uint32_t bytes = v6 ? 32 : 8;
  uint32_t sum = (place.offset == kTcpChecksum ? kTcp : kUdp) + (length - place.start);
  for (uint32_t i = 0; i < bytes; i += 2) sum += Be16(frame + addresses + i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  frame[place.start + place.offset] = static_cast<uint8_t>(sum >> 8);
  frame[place.start + place.offset + 1] = static_cast<uint8_t>(sum);
}

}  // namespace bench
