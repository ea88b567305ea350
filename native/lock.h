// Who runs in a directory: a lock that ends with the process, however that ends.
#pragma once
#include <napi.h>

namespace vifd {

// lockFile(path): 0 when this process has it from now on, else who has it, or -errno.
Napi::Value LockFile(const Napi::CallbackInfo& info);

// lockHolder(path): the process that has it, 0 when none has, or -errno.
Napi::Value LockHolder(const Napi::CallbackInfo& info);

// lockStands(path): 1 while the file that this process has locked is there, 0 when it was deleted or replaced, or -errno.
Napi::Value LockStands(const Napi::CallbackInfo& info);

// unlockFile(path): 0 or -errno. No error when this process does not have it.
Napi::Value UnlockFile(const Napi::CallbackInfo& info);

}  // namespace vifd
