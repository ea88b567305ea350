// Locks of files, or of single bytes of them, that end with the process, however that ends.
#pragma once
#include <napi.h>

namespace vifd {

// Each takes a path and the number of a byte, which need not be in the file; without one it is about the whole file.

// lockFile: 0 when this process has it from now on, else the process that has it, or -errno.
Napi::Value LockFile(const Napi::CallbackInfo& info);

// lockHolder: the process that has it, 0 when none has, or -errno.
Napi::Value LockHolder(const Napi::CallbackInfo& info);

// lockStands: 1 while this process has it and the file that it has locked is there, 0 when that was deleted or replaced, or -errno.
Napi::Value LockStands(const Napi::CallbackInfo& info);

// unlockFile: 0 or -errno. No error when this process does not have it.
Napi::Value UnlockFile(const Napi::CallbackInfo& info);

}  // namespace vifd
