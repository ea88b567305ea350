// Memory that JavaScript and native code share.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

namespace vifd {

// `size` bytes at `data` as an ArrayBuffer that shares them: no copy. `owner` lives as long as the ArrayBuffer.
// Throws where the runtime forbids external memory (Electron, V8 with a sandbox): a copy would break the aliasing.
Napi::ArrayBuffer ExternalBuffer(Napi::Env env, void* data, size_t size, std::shared_ptr<void> owner);

// Keeps a typed array's memory in place for as long as native code has its address.
class Pin {
 public:
  Pin() = default;
  explicit Pin(const Napi::TypedArray& array);

  uint8_t* bytes() const { return data_; }
  uint32_t* words() const { return reinterpret_cast<uint32_t*>(data_); }
  size_t size() const { return size_; }
  // Throws a TypeError when JavaScript has detached (transferred) the memory: its address is void then.
  void Check() const;

 private:
  Napi::ObjectReference buffer_;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// arena(bytes): zeroed pages of this process as an ArrayBuffer.
Napi::Value NewArena(const Napi::CallbackInfo& info);
Napi::Value MapFile(const Napi::CallbackInfo& info);

}  // namespace vifd
