// Memory that JavaScript and native code share.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

namespace vifd {

// Pages that JavaScript sees as an ArrayBuffer, and that end when native code ends them, not when they are collected.
//
// The ArrayBuffer is detached first and the pages are released second, so that a view that still exists is empty and cannot crash.
// `transfer()` (Node 21 and later) moves the pages to another ArrayBuffer, which cannot be detached from here: the pages are then vacated,
// and zeros replace them until that ArrayBuffer is collected.
class BufferPages {
 public:
  BufferPages(void* start, size_t size) : start_(start), size_(size) {}
  BufferPages(const BufferPages&) = delete;
  BufferPages& operator=(const BufferPages&) = delete;
  // Runs at last when JavaScript has dropped each object that could end the pages, and every view. A derived class calls Finish().
  virtual ~BufferPages() = default;

  // Returns the pages as an ArrayBuffer without a copy. Call it once. Throws if the runtime forbids external memory (Electron, V8 with a
  // sandbox): a copy would not share the memory.
  static Napi::ArrayBuffer Expose(Napi::Env env, const std::shared_ptr<BufferPages>& pages);

  // Returns 0, or -errno: the pages then still exist, out of reach of JavaScript, and End() may be called again. Idempotent.
  int End();

 protected:
  // Releases the pages. Returns 0 or -errno.
  virtual int Release() = 0;
  // Releases the pages and puts readable and writable memory in their place. Returns 0 or -errno.
  virtual int Vacate() = 0;
  void Finish();

  uint8_t* start() const { return static_cast<uint8_t*>(start_); }
  size_t size() const { return size_; }

  // Whether Vacate() has mapped zeros there, which Finish() unmaps.
  bool zeros_ = true;

 private:
  enum class State { exposed, detached, vacated, ended };

  void* start_;
  size_t size_;
  // Weak, or the pages would keep their own buffer alive.
  Napi::ObjectReference buffer_;
  // Whether an ArrayBuffer, ours or one that the pages were moved to, may have them.
  bool reachable_ = false;
  State state_ = State::exposed;
};

// Memory of this process alone, or of a file. One call replaces it by zeros, so that at no moment another thread can be given the addresses.
class OwnPages : public BufferPages {
 public:
  using BufferPages::BufferPages;
  ~OwnPages() override { Finish(); }

 protected:
  int Release() override;
  int Vacate() override;
};

// Pins a typed array's memory for as long as native code has its address.
class Pin {
 public:
  Pin() = default;
  explicit Pin(const Napi::TypedArray& array);

  uint8_t* bytes() const { return data_; }
  uint32_t* words() const { return reinterpret_cast<uint32_t*>(data_); }
  size_t size() const { return size_; }
  // Whether the memory is still at its address.
  bool intact() const;
  // Throws ERR_STATE if the memory is not at its address any more: JavaScript has transferred or shrunk it, or it ended.
  void Check() const {
    if (!intact()) Fail();
  }
  // Unpins the memory: Check() throws from now on.
  void Reset();

 private:
  [[noreturn]] void Fail() const;

  Napi::ObjectReference buffer_;
  void* base_ = nullptr;
  // How many bytes of the buffer, from its start, must exist.
  size_t needed_ = 0;
  // Whether the buffer can become smaller. Any other buffer keeps its memory until it is detached, and this is cheaper to ask (2 ns less).
  bool resizable_ = false;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// useErrors(make): `make(message)` creates the error that is thrown for a call that an object's state forbids.
Napi::Value UseErrors(const Napi::CallbackInfo& info);

// arena(bytes): zeroed pages of this process, { buffer, unmap() }, or -errno.
Napi::Value NewArena(const Napi::CallbackInfo& info);

// Returns { buffer, unmap() } for new pages.
Napi::Object BufferObject(Napi::Env env, const std::shared_ptr<BufferPages>& pages);

}  // namespace vifd
