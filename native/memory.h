// Memory that JavaScript and native code share.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

namespace vifd {

// Pages that JavaScript sees as an ArrayBuffer, and that end when native code ends them, not when the collector comes by.
//
// The ArrayBuffer is detached first and the pages are released second, so that a view that still exists is empty and
// cannot crash. `transfer()` (Node 21 and later) moves the pages to another ArrayBuffer, which nothing here can detach:
// the pages are then vacated, and zeros stand in their place until that ArrayBuffer is collected.
class BufferPages {
 public:
  BufferPages(void* start, size_t size) : start_(start), size_(size) {}
  BufferPages(const BufferPages&) = delete;
  BufferPages& operator=(const BufferPages&) = delete;
  // The backstop: JavaScript dropped everything that could end them, and every view. A derived class calls Finish().
  virtual ~BufferPages() = default;

  // The pages as an ArrayBuffer that shares them: no copy. To be called once. Throws where the runtime forbids external
  // memory (Electron, V8 with a sandbox): a copy would break the aliasing.
  static Napi::ArrayBuffer Expose(Napi::Env env, const std::shared_ptr<BufferPages>& pages);

  // Returns 0, or -errno: the pages then still exist, out of reach of JavaScript, and End() may be called again. Idempotent.
  int End();

 protected:
  // Gives the pages up. 0 or -errno.
  virtual int Release() = 0;
  // Gives the pages up and leaves something that can be read and written in their place. 0 or -errno.
  virtual int Vacate() = 0;
  void Finish();

  uint8_t* start() const { return static_cast<uint8_t*>(start_); }
  size_t size() const { return size_; }

  // Vacate() has put zeros there, which Finish() takes away.
  bool zeros_ = true;

 private:
  enum class State { exposed, detached, vacated, ended };

  void* start_;
  size_t size_;
  // Weak, or the pages would keep their own buffer alive.
  Napi::ObjectReference buffer_;
  // Some ArrayBuffer, ours or one that the pages were moved to, may have them.
  bool reachable_ = false;
  State state_ = State::exposed;
};

// Memory of this process's own, or of a file: zeros can take its place in one call, with no moment in between at which
// another thread could be given the addresses.
class OwnPages : public BufferPages {
 public:
  using BufferPages::BufferPages;
  ~OwnPages() override { Finish(); }

 protected:
  int Release() override;
  int Vacate() override;
};

// Keeps a typed array's memory in place for as long as native code has its address.
class Pin {
 public:
  Pin() = default;
  explicit Pin(const Napi::TypedArray& array);

  uint8_t* bytes() const { return data_; }
  uint32_t* words() const { return reinterpret_cast<uint32_t*>(data_); }
  size_t size() const { return size_; }
  // The memory is where it was.
  bool intact() const;
  // Throws ERR_STATE when the memory is not where it was: JavaScript has transferred it or made it smaller, or it ended.
  void Check() const {
    if (!intact()) Fail();
  }
  // The memory may go: Check() throws from now on.
  void Reset();

 private:
  [[noreturn]] void Fail() const;

  Napi::ObjectReference buffer_;
  void* base_ = nullptr;
  // Bytes of the buffer, from its start, that must be there.
  size_t needed_ = 0;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// useErrors(make): `make(message)` makes the error that is thrown for a call that does not fit an object's state.
Napi::Value UseErrors(const Napi::CallbackInfo& info);

// arena(bytes): zeroed pages of this process, { buffer, unmap() }, or -errno.
Napi::Value NewArena(const Napi::CallbackInfo& info);

// { buffer, unmap() } of pages that were just made.
Napi::Object BufferObject(Napi::Env env, const std::shared_ptr<BufferPages>& pages);

}  // namespace vifd
