// Faults that a test asks for: calls of the Xen libraries fail as on a host that lacks some resource.
//
// XENSIM_FAULTS names a directory. While it has a file with the name of a call (`gnttab_grant_copy`), that call fails. The file's content
// says how: `ENOMEM`, or `ENOMEM 3` for the next three calls, after which the file is deleted. Every call that fails so adds a byte to the
// file `<call>.hits`: its length is their number. `DELAY 300` executes calls 300 ms late. A file `<call>.7` is for domain 7 alone, so that a
// fault concerns one guest and not its neighbour.
#pragma once

#include <cstddef>
#include <cstdint>

#define XENSIM_EXPORT __attribute__((visibility("default")))

namespace xensim::faults {

// Whether the call must fail; errno is set then. A file that names no errno ends the process, because a test must not pass with it.
bool Fails(const char* call);

// The same for a call that concerns a domain: the file of that domain, or else the file for all.
bool Fails(const char* call, uint32_t domid);

// Returns the function of that name in xensim's own library, in ../xensim beside the directory of this one.
void* Find(const char* library, const char* name);

}  // namespace xensim::faults
