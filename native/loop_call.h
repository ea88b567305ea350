// Calls from the event loop into JavaScript.
#pragma once

#include <napi.h>

namespace vifd {

// Calls `function` without arguments. What it throws is an uncaught exception of the process.
//
// Not by Napi::Function::MakeCallback: if a worker thread is terminated during the call, the exception is no object, and the constructor of
// Napi::Error then aborts the whole process (napi-inl.h, "napi_define_properties").
inline void CallFromLoop(const Napi::FunctionReference& function, napi_async_context context) {
  const Napi::Env env = function.Env();
  const Napi::HandleScope scope(env);
  napi_value result;
  if (napi_make_callback(env, context, env.Global(), function.Value(), 0, nullptr, &result) != napi_pending_exception) return;
  napi_value thrown;
  // Does nothing in a thread that is being terminated.
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}

}  // namespace vifd
