// A tap of its own for the C++ loop, written to as native/tap_io.cc writes.
#pragma once

#include <string>

#include "frame.h"

namespace bench {

class TapSink : public Sink {
 public:
  // Makes the tap and sets it up. Throws std::runtime_error.
  explicit TapSink(const std::string& name);
  ~TapSink() override;

  uint32_t Write(const Arena& arena, const Frame* frames, uint32_t count) override;

 private:
  int fd_;
};

}  // namespace bench
