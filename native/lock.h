// Locks of files, or of single bytes of them, which the kernel releases when the process ends in any way.
#pragma once
#include <napi.h>

namespace vifd {

// Each function takes a path and the offset of a byte, which need not be in the file; without an offset it concerns the whole file.

// lockFile: returns 0 if this process has the lock from now on, the pid of the process that has it, or -errno.
Napi::Value LockFile(const Napi::CallbackInfo& info);

// lockHolder: returns the pid of the process that has the lock, 0 if none has it, or -errno.
Napi::Value LockHolder(const Napi::CallbackInfo& info);

// lockStands: returns 1 while this process has the lock and the locked file exists, 0 if the file was deleted or replaced, or -errno.
Napi::Value LockStands(const Napi::CallbackInfo& info);

// unlockFile: returns 0 or -errno; 0 too if this process does not have the lock.
Napi::Value UnlockFile(const Napi::CallbackInfo& info);

}  // namespace vifd
