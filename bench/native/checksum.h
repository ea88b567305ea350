// Where the transport checksum of a frame stands: lib/protocol/checksum.ts in C++.
#pragma once

#include <cstdint>

namespace bench {

struct ChecksumPlace {
  // From the frame's start; 0 when there is none that we know.
  uint16_t start;
  uint16_t offset;
};

ChecksumPlace LocateChecksum(const uint8_t* frame, uint32_t length);

// Bytes from the frame's start to the end of its TCP header; 0 when that is not inside `length`.
uint32_t TcpHeaderEnd(const uint8_t* frame, uint32_t length, uint32_t tcp);

// Puts the sum of the pseudo header where the checksum will be.
void WritePseudoChecksum(uint8_t* frame, uint32_t length, ChecksumPlace place);

}  // namespace bench
