// The backend's end of a shared ring: the macros of xen/io/ring.h as a class.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "netif.h"

namespace bench {

template <typename Request, typename Response>
class BackRing {
 public:
  explicit BackRing(void* page) : shared_(static_cast<Shared*>(page)) {}

  // Continues from rsp_prod. Returns false if more requests lie between rsp_prod and req_prod than the ring has slots.
  bool Attach() {
    published_ = taken_ = seen_ = __atomic_load_n(&shared_->rsp_prod, __ATOMIC_ACQUIRE);
    uint32_t waiting;
    return Waiting(&waiting);
  }

  bool Waiting(uint32_t* waiting) {
    const uint32_t produced = __atomic_load_n(&shared_->req_prod, __ATOMIC_ACQUIRE);
    *waiting = produced - taken_;
    if (produced - published_ > kRingSize || *waiting > kRingSize) return false;
    seen_ = produced;
    return true;
  }

  // Copies the next `count` requests, each once.
  void Copy(uint32_t count, Request* into) const {
    const uint32_t first = taken_ % kRingSize;
    const uint32_t straight = first + count <= kRingSize ? count : kRingSize - first;
    CopySlots(first, straight, into);
    CopySlots(0, count - straight, into + straight);
  }

  void Take(uint32_t count) { taken_ += count; }

  // Writes responses behind rsp_prod and publishes them. True when the frontend asked to be notified.
  bool Publish(const Response* responses, uint32_t count) {
    const uint32_t old = published_;
    for (uint32_t i = 0; i < count; i++) {
      memcpy(&shared_->slots[(old + i) % kRingSize], &responses[i], sizeof(Response));
    }
    published_ = old + count;
    __atomic_store_n(&shared_->rsp_prod, published_, __ATOMIC_RELEASE);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return published_ - __atomic_load_n(&shared_->rsp_event, __ATOMIC_RELAXED) < published_ - old;
  }

  // RING_FINAL_CHECK_FOR_REQUESTS: true when requests came meanwhile.
  bool Arm() {
    __atomic_store_n(&shared_->req_event, seen_ + 1, __ATOMIC_RELAXED);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return __atomic_load_n(&shared_->req_prod, __ATOMIC_ACQUIRE) != seen_;
  }

  // What a frontend would do: for the benchmark's loop.
  void Produce(uint32_t index) { __atomic_store_n(&shared_->req_prod, index, __ATOMIC_RELEASE); }
  uint32_t published() const { return published_; }

 private:
  union Slot {
    Request request;
    Response response;
  };
  struct Shared {
    uint32_t req_prod;
    uint32_t req_event;
    uint32_t rsp_prod;
    uint32_t rsp_event;
    uint8_t pad[48];
    Slot slots[kRingSize];
  };

  void CopySlots(uint32_t first, uint32_t count, Request* into) const {
    static_assert(sizeof(Slot) == sizeof(Request), "no request is smaller than its response");
    memcpy(into, &shared_->slots[first], count * sizeof(Request));
  }

  Shared* shared_;
  uint32_t taken_ = 0;
  uint32_t seen_ = 0;
  uint32_t published_ = 0;
};

}  // namespace bench
