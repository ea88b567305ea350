// Faults that a test asks for: calls of the Xen libraries that fail as on a host that is short of something.
//
// XENSIM_FAULTS names a directory. While it holds a file with the name of a call (`gnttab_grant_copy`), that call fails.
// The file says how: `ENOMEM`, or `ENOMEM 3` for the next three calls, after which the file is deleted. Every call that
// was made to fail adds a byte to the file `<call>.hits`: its length is how many there were. `DELAY 300` lets calls do their
// work, 300 ms late. A file `<call>.7` is for domain 7 alone, so that one guest meets what its neighbour does not.
#pragma once

#include <cstddef>
#include <cstdint>

#define XENSIM_EXPORT __attribute__((visibility("default")))

namespace xensim::faults {

// Whether the call is to fail; errno is set then. A file that names no errno ends the process: a test must not pass for it.
bool Fails(const char* call);

// The same for a call that concerns a domain: the file of that domain, or else the file for all.
bool Fails(const char* call, uint32_t domid);

// The function of that name in xensim's own library, which lies in ../xensim beside the directory of this one.
void* Find(const char* library, const char* name);

}  // namespace xensim::faults
