// JavaScript functions without arguments for the data path.
#pragma once

#include <napi.h>

#include <memory>
#include <type_traits>

namespace vifd {

// Returns a method of `self` as a function that reads no arguments and does not unwrap `this`. A lambda through Napi::Function::New does the
// same, but creates an Napi::CallbackInfo, which is most of the cost of such a call.
template <auto method, typename T>
Napi::Function DirectMethod(Napi::Env env, const char* name, const std::shared_ptr<T>& self) {
  const napi_callback call = [](napi_env raw, napi_callback_info info) -> napi_value {
    void* data = nullptr;
    napi_get_cb_info(raw, info, nullptr, nullptr, nullptr, &data);
    napi_value result = nullptr;
    try {
      using Result = decltype((static_cast<T*>(data)->*method)());
      if constexpr (std::is_void_v<Result>) {
        (static_cast<T*>(data)->*method)();
      } else {
        napi_create_uint32(raw, (static_cast<T*>(data)->*method)(), &result);
      }
    } catch (const Napi::Error& error) {
      error.ThrowAsJavaScriptException();
    }
    return result;
  };
  napi_value function = nullptr;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, self.get(), &function) != napi_ok) {
    throw Napi::Error::New(env);
  }
  // The function owns a reference to its object, however long JavaScript stores the function.
  Napi::Function out(env, function);
  out.AddFinalizer([](Napi::Env, std::shared_ptr<T>* owned) { delete owned; }, new std::shared_ptr<T>(self));
  return out;
}

}  // namespace vifd
