// Faults that a test asks for: calls of the Xen libraries that fail as on a host that is short of something.
//
// XENSIM_FAULTS names a directory. While it holds a file with the name of a call (`gnttab_grant_copy`), that call fails.
// The file says how: `ENOMEM`, or `ENOMEM 3` for the next three calls, after which the file is deleted. Every call that
// was made to fail adds a byte to the file `<call>.hits`: its length is how many there were.
#pragma once

#include <cstddef>

#define XENSIM_EXPORT __attribute__((visibility("default")))

namespace xensim::faults {

// Whether the call is to fail; errno is set then. A file that names no errno ends the process: a test must not pass for it.
bool Fails(const char* call);

// The function of that name in xensim's own library, which lies in ../xensim beside the directory of this one.
void* Find(const char* library, const char* name);

}  // namespace xensim::faults
