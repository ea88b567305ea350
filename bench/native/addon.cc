// What bench/loop.ts sees of the C++ loop.
#include <napi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "from_guest.h"
#include "tap.h"
#include "to_guest.h"

namespace bench {

namespace {

// The same frame over and over, each copy at a page of the arena, as lib/netback/queue/pending-frames.ts has frames for the
// guest.
class RepeatedFrame : public Source {
 public:
  // `bytes` begins with the vnet header.
  void Set(Arena* arena, const uint8_t* bytes, uint32_t size) {
    length_ = size - static_cast<uint32_t>(sizeof(VnetHeader));
    room_ = 0;
    for (uint32_t at = Place(0); room_ < ToGuest::kBatchFrames; at = Place(at + length_)) {
      if (at + kFrameBytesMax > arena->size()) break;
      memcpy(arena->at(at - sizeof(VnetHeader)), bytes, size);
      offsets_[room_++] = at;
    }
  }

  void Offer(uint32_t frames) { waiting_ = frames; }

  uint32_t Read(const Arena&, Frame* frames, uint32_t capacity) override {
    const uint32_t count = std::min({waiting_, room_, capacity});
    for (uint32_t i = 0; i < count; i++) frames[i] = {offsets_[i], length_};
    waiting_ -= count;
    return count;
  }

 private:
  // The first page at or behind `cursor` with room for the vnet header in front.
  static uint32_t Place(uint32_t cursor) {
    return (cursor + static_cast<uint32_t>(sizeof(VnetHeader)) + kPageSize - 1) & ~(kPageSize - 1);
  }

  uint32_t length_ = 0;
  uint32_t room_ = 0;
  uint32_t waiting_ = 0;
  uint32_t offsets_[ToGuest::kBatchFrames];
};

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
}

// Until the ring is empty. Throws std::runtime_error when the loop found fault with it.
template <typename Direction>
void Drain(Direction& direction) {
  typename Direction::Result result;
  do {
    result = direction.Pump();
  } while (result == Direction::Result::kMore);
  if (result == Direction::Result::kBroken) throw std::runtime_error("the C++ loop found the ring broken");
}

class Loop : public Napi::ObjectWrap<Loop> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Loop",
                       {
                           InstanceMethod<&Loop::FromGuestNs>("fromGuest"),
                           InstanceMethod<&Loop::ToGuestNs>("toGuest"),
                           InstanceMethod<&Loop::SetSource>("setSource"),
                           InstanceMethod<&Loop::LastFrames>("lastFrames"),
                           InstanceMethod<&Loop::Delivered>("delivered"),
                       });
  }

  // ({ directory, domid, txRef, rxRef, tap, write }): bench/machines.ts, CxxOptions.
  explicit Loop(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Loop>(info) {
    const auto options = info[0].As<Napi::Object>();
    const auto number = [&](const char* name) { return options.Get(name).As<Napi::Number>().Uint32Value(); };
    try {
      const Napi::Value tap = options.Get("tap");
      if (tap.IsString()) {
        const bool batched = options.Get("write").As<Napi::String>().Utf8Value() == "batch";
        sink_ = std::make_unique<TapSink>(tap.As<Napi::String>().Utf8Value(), batched);
      }
      grants_ = std::make_unique<Grants>(options.Get("directory").As<Napi::String>().Utf8Value(),
                                         static_cast<uint16_t>(number("domid")));
      from_guest_ = std::make_unique<FromGuest>(grants_.get(), number("txRef"), sink_.get());
      to_guest_ = std::make_unique<ToGuest>(grants_.get(), number("rxRef"), &source_);
    } catch (const std::runtime_error& error) {
      throw Napi::Error::New(info.Env(), error.what());
    }
  }

 private:
  // fromGuest(slots, step): publishes `slots` requests that the frontend has written, `step` at a time, and drains
  // the ring after each. Returns nanoseconds.
  Napi::Value FromGuestNs(const Napi::CallbackInfo& info) {
    return Timed(info, from_guest_.get(), [this](uint32_t first, uint32_t slots, uint32_t step) {
      for (uint32_t done = step; done <= slots; done += step) {
        from_guest_->ring().Produce(first + done);
        Drain(*from_guest_);
      }
    });
  }

  // toGuest(frames, step): offers `frames` frames, `step` at a time, to a ring with room for all. Returns nanoseconds.
  Napi::Value ToGuestNs(const Napi::CallbackInfo& info) {
    return Timed(info, to_guest_.get(), [this](uint32_t, uint32_t frames, uint32_t step) {
      for (uint32_t done = step; done <= frames; done += step) {
        source_.Offer(step);
        Drain(*to_guest_);
      }
    });
  }

  template <typename Direction, typename Body>
  Napi::Value Timed(const Napi::CallbackInfo& info, Direction* direction, Body body) {
    const uint32_t amount = info[0].As<Napi::Number>().Uint32Value();
    const uint32_t step = info[1].As<Napi::Number>().Uint32Value();
    try {
      if (!direction->ring().Attach()) throw std::runtime_error("cannot attach to the ring");
      const Clock::time_point start = Clock::now();
      body(direction->ring().published(), amount, step);
      return Napi::Number::New(info.Env(), Since(start));
    } catch (const std::runtime_error& error) {
      throw Napi::Error::New(info.Env(), error.what());
    }
  }

  // setSource(bytes): the frame that `toGuest` delivers, its vnet header in front.
  void SetSource(const Napi::CallbackInfo& info) {
    const auto bytes = info[0].As<Napi::Uint8Array>();
    source_.Set(&to_guest_->arena(), bytes.Data(), static_cast<uint32_t>(bytes.ByteLength()));
  }

  // The frames of the last batch from the guest, vnet headers in front.
  Napi::Value LastFrames(const Napi::CallbackInfo& info) {
    Napi::Array out = Napi::Array::New(info.Env());
    for (uint32_t i = 0; i < from_guest_->frame_count(); i++) {
      const Frame& frame = from_guest_->frames()[i];
      out[i] = Napi::Buffer<uint8_t>::Copy(info.Env(), from_guest_->arena().at(frame.offset - sizeof(VnetHeader)),
                                           sizeof(VnetHeader) + frame.length);
    }
    return out;
  }

  // Frames that were moved in each direction, to see that all were.
  Napi::Value Delivered(const Napi::CallbackInfo& info) {
    Napi::Object out = Napi::Object::New(info.Env());
    out["fromGuest"] = static_cast<double>(from_guest_->counters().frames);
    out["toGuest"] = static_cast<double>(to_guest_->counters().frames);
    out["notified"] = static_cast<double>(from_guest_->notified() + to_guest_->notified());
    return out;
  }

  std::unique_ptr<Sink> sink_ = std::make_unique<NullSink>();
  RepeatedFrame source_;
  std::unique_ptr<Grants> grants_;
  std::unique_ptr<FromGuest> from_guest_;
  std::unique_ptr<ToGuest> to_guest_;
};

}  // namespace

}  // namespace bench

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports["Loop"] = bench::Loop::Define(env);
  return exports;
}

NODE_API_MODULE(bench, Init)
