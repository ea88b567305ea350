// A tap of its own for the C++ loop, written to as native/tap_io.cc writes.
#pragma once

#include <memory>
#include <string>

#include "frame.h"
#include "uring.h"

namespace bench {

class TapSink : public Sink {
 public:
  // Makes the tap and sets it up. `batched`: one io_uring_enter for the frames of a batch, if the kernel has io_uring;
  // otherwise a write for each. Throws std::runtime_error.
  TapSink(const std::string& name, bool batched);
  ~TapSink() override;

  // Throws std::runtime_error when the tap refuses a frame.
  uint32_t Write(const Arena& arena, const Frame* frames, uint32_t count) override;

 private:
  uint32_t WriteEach(const Arena& arena, const Frame* frames, uint32_t count);
  uint32_t WriteTogether(const Arena& arena, const Frame* frames, uint32_t count);

  int fd_;
  std::unique_ptr<Uring> ring_;
};

}  // namespace bench
